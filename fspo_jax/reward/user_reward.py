"""The reward of one user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from fspo_jax.checkpoints import read_user, write_user
from fspo_jax.errors import CheckpointError, DataError, FspoError, LimitError
from fspo_jax.metrics import predicted
from fspo_jax.reward.engines.contract import Context, State
from fspo_jax.types import Preference, Prompt, check_prompt, check_text, check_texts

if TYPE_CHECKING:
    from fspo_jax.reward.personalized import PersonalizedReward


@dataclass(frozen=True, eq=False, repr=False)
class UserReward:
    """The reward of one user; immutable, so threads may share it. Made by `PersonalizedReward.adapt` or `load`.

    Scorers of features, and the Gaussian process on a language model, keep the features of the context pairs,
    `float32 [K, 2, F]`, and no raw text; embeddings are not encryption, so treat a saved user like the texts it came
    from. Language models that read the context as tokens need its texts, and keep and save them.

    Attributes:
        base: The reward that it was adapted from.
        context: What is kept of the context pairs.
        state: What candidates are scored with.
    """

    base: PersonalizedReward
    context: Context
    state: State

    @property
    def shots(self) -> int:
        """Number of context pairs."""
        return self.base.scoring.count(self.context)

    def score(self, prompt: Prompt, candidates: Iterable[str]) -> np.ndarray:
        """Rewards of candidates, `float32 [C]`, in nats; only differences within one prompt mean anything.

        A candidate's reward does not depend on the other candidates. Empty strings are scored as empty responses; no
        candidates give an empty array.

        Args:
            prompt: A string or a conversation.
            candidates: C response texts: a list, or anything that gives strings in an order.

        Raises:
            DataError: The prompt or a candidate has a wrong type or holds a lone surrogate.
            LimitError: A text is over-long.
        """
        return self.score_with_uncertainty(prompt, candidates)[0]

    def uncertainty(self, prompt: Prompt, candidates: Iterable[str]) -> np.ndarray:
        """Posterior standard deviation, `float32 [C]` in nats, of each reward against the candidates' mean reward.

        It is that of the reward before a temperature divides its mean: see `PersonalizedReward.calibrated`.
        NaN for scorers without a posterior (the set transformer, language models that read the context). Raises as
        `score`.
        """
        return self.score_with_uncertainty(prompt, candidates)[1]

    def score_with_uncertainty(
        self, prompt: Prompt, candidates: Iterable[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`score` and `uncertainty` in one pass."""
        prompt = check_prompt(prompt)
        texts = check_texts(candidates, "candidates")
        if not texts:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        rewards, deviations = self.base.scoring.score(self.state, prompt, texts)
        return rewards / np.float32(self.base.temperature), deviations

    def preference_probability(self, prompt: Prompt, a: str, b: str) -> float:
        """Probability that the user prefers `a` to `b`, averaged over the posterior where there is one."""
        rewards, deviation = self.score_with_uncertainty(prompt, [a, b])
        if a == b:
            return 0.5
        # With two candidates the mean lies half way: the deviation of their difference is twice the one of each.
        variance = np.nan_to_num(4.0 * np.square(deviation[0]))
        return float(predicted(rewards[0] - rewards[1], variance))

    def generate(
        self,
        prompt: Prompt,
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_tokens: int = 256,
        seed: int = 0,
    ) -> list[str]:
        """Responses of the user's own policy: the meta-trained language model behind the user's context.

        Args:
            prompt: A string or a conversation.
            n: Number of responses.
            temperature: 0 takes the likeliest token every time.
            top_p: Probability of the nucleus that tokens are drawn from, above 0 to 1.
            max_tokens: A response that has not ended by then ends there.
            seed: Equal seeds give equal responses.

        Raises:
            FspoError: The reward is no policy: only the implicit reward of a language model is.
            DataError: A number is out of its range, or the prompt has a wrong type.
        """
        _check_range("n", n, n >= 1, "at least 1")
        _check_range("temperature", temperature, temperature >= 0, "not negative")
        _check_range("top_p", top_p, 0 < top_p <= 1, "above 0 and at most 1")
        _check_range("max_tokens", max_tokens, max_tokens >= 1, "at least 1")
        prompt = check_prompt(prompt)
        writing = self.base.writing
        if writing is None or not writing.generates:
            raise FspoError(
                "this reward scores responses and writes none. Pass a generator, or meta-train a language model with "
                "reward = 'implicit', which is a policy."
            )
        return writing.generate(self.state, prompt, n, temperature, top_p, max_tokens, seed)

    def describe(self, *, temperature: float = 0.0, max_tokens: int = 128, seed: int = 0) -> str:
        """What the user is like, in words, as the language model infers it from the labelled pairs.

        Args:
            temperature: 0 takes the likeliest words.
            max_tokens: A description that has not ended by then ends there.
            seed: Of the draws, above temperature 0.

        Raises:
            FspoError: The reward was not meta-trained to describe people (`scorer.description_weight`).
            DataError: A number is out of its range.

        Source: Singh et al. (2025), FSPO, arXiv 2502.19312, user description.
        """
        _check_range("temperature", temperature, temperature >= 0, "not negative")
        _check_range("max_tokens", max_tokens, max_tokens >= 1, "at least 1")
        writing = self.base.writing
        if writing is None:
            raise FspoError("this reward writes no descriptions; language models that read the context do.")
        if not writing.describes:
            raise FspoError(
                "this language model was not meta-trained to describe people. Meta-train with "
                "'scorer.description_weight' above 0."
            )
        return writing.describe(self.state, temperature, max_tokens, seed)

    def with_description(self, text: str) -> UserReward:
        """Conditions also on a description of the user: one that `describe` wrote, or the user did.

        Raises:
            FspoError: This reward reads no descriptions.
            DataError: `text` is not a string.
        """
        text = check_text(text, "text")
        if self.base.writing is None:
            raise FspoError("this reward reads no description; language models that read the context do.")
        context = self.base.writing.with_description(self.context, text)
        return UserReward(self.base, context, self.base.scoring.state(context))

    def update(self, preferences: Iterable[Preference]) -> UserReward:
        """Returns this user's reward with further pairs; equals adapting to all pairs at once.

        Raises:
            LimitError: More than `max_context` pairs in all.
            DataError: `preferences` is not a list of `Preference`.
        """
        pairs = check_preferences(preferences, "preferences")
        check_limit(self.shots + len(pairs), self.base.max_context)
        scoring = self.base.scoring
        more = scoring.read(pairs)
        state = scoring.update(self.state, self.context, more)
        return UserReward(self.base, scoring.join(self.context, more), state)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes one safetensors file, whole or not at all: the context and the base's fingerprint.

        Args:
            path: The file; its directory is made.
            overwrite: Replace a saved user that is there.

        Raises:
            CheckpointError: The path exists and `overwrite` is false, or holds something else than a saved user, or
                cannot be written.
        """
        if not overwrite and Path(path).exists():
            raise CheckpointError(
                f"{path}: already exists. Choose another path, or pass overwrite=True to replace a saved user."
            )
        write_user(path, self.base.scoring.to_arrays(self.context), fingerprint=self.base.fingerprint)

    @classmethod
    def load(cls, path: str | Path, reward: PersonalizedReward) -> UserReward:
        """Loads a saved user.

        Raises:
            CheckpointError: Not a user file, damaged, of another version, or saved with another base reward.
        """
        arrays = read_user(path, fingerprint=reward.fingerprint)
        try:
            context = reward.scoring.from_arrays(arrays)
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path}: does not hold what this reward keeps of a user ({error!r}). Adapt the user again."
            ) from None
        return cls(reward, context, reward.scoring.state(context))

    def __repr__(self) -> str:
        return f"UserReward({self.shots} of at most {self.base.max_context} pairs, base {self.base!r})"

    def __copy__(self) -> UserReward:
        return self  # immutable

    def __deepcopy__(self, memo: dict) -> UserReward:
        return self

    def __reduce__(self) -> NoReturn:
        raise FspoError(
            "a UserReward cannot be pickled. Write it with user.save(path), and read it with "
            "UserReward.load(path, reward)."
        )


def check_preferences(preferences: Iterable[Preference], name: str) -> list[Preference]:
    """The preferences as a list; raises `DataError` where they are anything else."""
    wanted = f"{name} must be a list of Preference"
    if isinstance(preferences, Preference):
        raise DataError(f"{wanted}, not a single one. Put it into a list: [preference].")
    if isinstance(preferences, str | bytes | dict) or not hasattr(preferences, "__iter__"):
        raise DataError(f"{wanted}, not {type(preferences).__name__}. For no pairs give an empty list.")
    listed = list(preferences)
    for i, preference in enumerate(listed):
        if not isinstance(preference, Preference):
            raise DataError(f"{name}[{i}] must be a Preference, not {type(preference).__name__}.")
    return listed


def check_limit(shots: int, limit: int) -> None:
    """Raises `LimitError` where a context has more pairs than the reward may read."""
    if shots > limit:
        raise LimitError(
            f"context has {shots} preferences; this checkpoint was meta-trained with at most {limit}. Pass the "
            f"{limit} most recent, or load a checkpoint with a larger limit."
        )


def _check_range(name: str, value: float, allowed: bool, what: str) -> None:
    if not allowed:
        raise DataError(f"{name} is {value}; it must be {what}.")
