"""Rewards of completions for the people they were written for: what every trainer's hook calls."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fspo_jax.arguments import shown
from fspo_jax.data.rows.fields import BadRow, identity
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError, counted
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.reward.caution import check_caution, lower_bound
from fspo_jax.types import Prompt, check_prompt


class PersonalRewards:
    """Scores completions, each for its own user. Trainers call it with a batch; threads may share it.

    Args:
        users: The reward of each user, by id. 7, 7.0 and "7" are one id, as in `load_users`.
        everybody: Scores completions of unknown users and of nobody in particular; None gives those no reward.
        caution: How many standard deviations of its uncertainty a score is lowered by. A policy that is trained on a
            reward finds the texts that the reward is wrong about; those it knows little about then count less.
        standardize: Whether the rewards of each user are divided by how much they vary, as seen so far. Otherwise
            people with strong tastes decide what is learned. Without it a completion's reward depends on user, prompt
            and completion only.

    Raises:
        DataError: `users` is no mapping of `UserReward`, or `caution` is no number of at least 0.

    Source: Wang et al. (2026), P-GRPO, arXiv 2603.10009, for `standardize`: rewards are measured by the history of a
    user's own. Differs from the paper: only the deviation is taken from it; trainers subtract a mean themselves.

    Example:
        >>> rewards = PersonalRewards({"ana": ana}, everybody=None)
        >>> liked, nobody = rewards(["Why is the sky blue?"] * 2, drafts, ["ana", "bo"])
        >>> liked == float(ana.score("Why is the sky blue?", drafts[:1])[0]), nobody
        (True, None)
    """

    def __init__(
        self,
        users: Mapping[str, UserReward],
        everybody: UserReward | None,
        *,
        caution: float = 0.0,
        standardize: bool = False,
    ):
        if not isinstance(users, Mapping) or not all(hasattr(one, "shots") for one in users.values()):
            raise DataError(f"users must be a mapping from ids to UserReward, not {shown(users)}.")
        self._users = {_user_of(user): reward for user, reward in users.items()}
        self._everybody = everybody
        self._caution = check_caution(caution)
        self._spread: dict[str | None, _Spread] | None = {} if standardize else None
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        reward: str | Path,
        users: str | Path,
        *,
        everybody: bool = True,
        caution: float = 0.0,
        standardize: bool = False,
    ) -> PersonalRewards:
        """Loads a reward and adapts it to people.

        Args:
            reward: As in `PersonalizedReward.load`.
            users: Labelled pairs of people, as in `load_users`.
            everybody: Whether unknown users are scored as people in general; else they get no reward.
            caution, standardize: As above.

        Raises:
            FspoError: As `PersonalizedReward.load`, `load_users` and `adapt` raise.
        """
        base = PersonalizedReward.load(reward)
        adapted = {user.user_id: base.adapt(user.preferences) for user in load_users(users)}
        return cls(adapted, base.adapt() if everybody else None, caution=caution, standardize=standardize)

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], users: Sequence[Any] | None = None
    ) -> list[float | None]:
        """Returns the reward of each completion, in nats; None for one without a reward.

        Args:
            prompts: A string or a conversation for each completion.
            completions: Strings, or lists of messages whose last is the response, as TRL gives them.
            users: Whose taste; None, for one or all, means nobody in particular.

        Raises:
            DataError: The lengths differ, or a prompt, completion or user has another form.
        """
        count = len(completions)
        names = [None] * count if users is None else [_user_of(user) for user in users]
        if not len(prompts) == count == len(names):
            raise DataError(
                f"there are {counted(len(prompts), 'prompt')}, {counted(count, 'completion')} and "
                f"{counted(len(names), 'user')}. Give as many of each."
            )
        groups: dict[tuple[str | None, Prompt], list[int]] = {}
        for place, (user, prompt) in enumerate(zip(names, prompts, strict=True)):
            groups.setdefault((user, prompt_of(prompt)), []).append(place)
        found: list[float | None] = [None] * count
        for (user, prompt), places in groups.items():
            reward = self._everybody if user is None else self._users.get(user, self._everybody)
            if reward is None:
                continue
            scores, _ = lower_bound(reward, prompt, [text_of(completions[i]) for i in places], self._caution)
            for place, value in zip(places, self._divided(user, scores.tolist()), strict=True):
                found[place] = value
        return found

    def _divided(self, user: str | None, values: list[float]) -> list[float]:
        if self._spread is None:
            return values
        with self._lock:
            spread = self._spread.setdefault(user, _Spread())
            for value in values:
                spread.add(value)
            return [value / spread.deviation for value in values]


class _Spread:
    """Mean and deviation of numbers that come one by one (Welford's method)."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self._count += 1
        step = value - self._mean
        self._mean += step / self._count
        self._squares += step * (value - self._mean)

    @property
    def deviation(self) -> float:
        """At least 0.1 nats, so that noise is not made large; 1 before there are two numbers."""
        return 1.0 if self._count < 2 else max(math.sqrt(self._squares / self._count), 0.1)


@functools.cache
def loaded(reward: str, users: str, caution: float = 0.0, standardize: bool = False) -> PersonalRewards:
    """As `PersonalRewards.load`, once for each choice. For trainers that call a function with its arguments."""
    return PersonalRewards.load(reward, users, caution=caution, standardize=standardize)


def prompt_of(value: Any) -> Prompt:
    """A prompt as trainers give it: a string, or a list of messages."""
    return check_prompt(value if isinstance(value, str) else _plain(value))


def text_of(value: Any) -> str:
    """The response of a completion: a string, or the last message of a list. Raises `DataError` for anything else."""
    value = _plain(value)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    if not isinstance(value, str):
        raise DataError(f"a completion must be a string, or messages with a content, not {shown(value)}.")
    return value


def _user_of(value: Any) -> str | None:
    """The id as `load_users` reads it; None for nobody, also for NaN, which tables have in place of a missing id."""
    value = _plain(value)
    if value is None or value == "" or value != value:
        return None
    try:
        return identity({"user": value}, "user")
    except BadRow as bad:
        raise DataError(f"{bad}.") from None


def _plain(value: Any) -> Any:
    """What is inside an array of numpy or a tensor."""
    return value.tolist() if hasattr(value, "tolist") else value
