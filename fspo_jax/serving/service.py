"""A reward, its users, and who may ask for what: what every route works with."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from starlette.requests import Request

from fspo_jax.arguments import split_address
from fspo_jax.errors import FspoError
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.serving.bodies import Body, read_object
from fspo_jax.serving.cache import Derived, UserRewards
from fspo_jax.serving.identity import find_user, user_in_model
from fspo_jax.serving.limits import Gate, Limits, Rate
from fspo_jax.serving.measuring import Measures
from fspo_jax.serving.pool import Pool, bundled_pool
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.tokens import Bearer, Tokens
from fspo_jax.serving.users import Users
from fspo_jax.types import Prompt

T = TypeVar("T")

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """What the operator chooses.

    Attributes:
        name: How clients call the reward in `model`.
        tokens: Who may ask. Without tokens everybody on this machine may do everything.
        limits: What a request may cost.
        trusted_header: A header that names the user, set by a proxy that clients cannot go around; "" for none.
        unknown_is_population: Whether a user without labels is ranked for as people in general; else it is an error.
        pool: What the page asks about; None for the pool of the package.
    """

    name: str
    tokens: Tokens = field(default_factory=Tokens)
    limits: Limits = field(default_factory=Limits)
    trusted_header: str = ""
    unknown_is_population: bool = False
    pool: Pool | None = None


class Scored(NamedTuple):
    """Rewards of texts, `float32 [C]` in nats, and their uncertainty, as `UserReward` computes them."""

    rewards: np.ndarray
    uncertainty: np.ndarray

    def activated(self, activate: bool = True) -> list[float]:
        """The rewards as numbers, squashed to [0, 1] by the logistic function unless told otherwise."""
        rewards = self.rewards.astype(np.float64)
        return (np.exp(-np.logaddexp(0.0, -rewards)) if activate else rewards).tolist()


class Service:
    """Answers for one reward and the users of one database.

    Args:
        reward: The reward, warmed up if no request may wait for the compiler.
        users: The store of users.
        settings: What the operator chooses.
    """

    def __init__(self, reward: PersonalizedReward, users: Users, settings: Settings):
        self.reward, self.users, self.settings = reward, users, settings
        self.rewards = UserRewards(reward, users)
        self.computing = Gate(settings.limits.running, settings.limits.queue)
        self.storing = Gate(settings.limits.running, settings.limits.queue)
        self.measures = Measures()
        self.measures.add_gates({"computing": self.computing, "storing": self.storing})
        self._rate = Rate(settings.limits.rate)
        self._inside_is_cold = False  # nothing is to be compiled ahead before `warm_up`

    @property
    def most_labels(self) -> int:
        """Largest number of labels of a user that the reward can read and the operator allows."""
        most = self.settings.limits.labels
        return most if self.reward.scoring.weighs_pairs else min(most, self.reward.max_context)

    @property
    def pool(self) -> Pool:
        """What the page asks about."""
        return self.settings.pool or bundled_pool()

    def warm_up(self) -> None:
        """Compiles ahead of time, and reads the pool of the page, so that no request waits for either.

        What is asked inside communities is compiled if there is one, and else when the first one is learned.
        """
        self._compile(self.reward)
        self._inside_is_cold = True
        for community in self.users.communities.listed("", 1):
            with contextlib.suppress(FspoError):  # it was learned with another reward
                self.warm_up_inside(self.rewards.inside(community.version))

    def warm_up_inside(self, reward: PersonalizedReward) -> None:
        """Compiles what the members of a community ask of its reward: once for all communities, after `warm_up`."""
        if self._inside_is_cold:
            self._compile(reward)
            self._inside_is_cold = False

    def _compile(self, reward: PersonalizedReward) -> None:
        reward.warm_up()
        pairs = list(self.pool.pairs.values())
        user = reward.adapt(pairs[:2])
        reward.scoring.margin_posterior(user.state, pairs)
        user.explain(pairs[0].prompt, (pairs[0].chosen, pairs[0].rejected))
        user.contradictions()
        with contextlib.suppress(FspoError):  # some rewards have no beliefs
            user.beliefs(pairs)

    @functools.cached_property
    def asks_well(self) -> bool:
        """Whether the reward can tell which pair tells most."""
        pairs = list(self.pool.pairs.values())
        return self.reward.scoring.margin_posterior(self.rewards.everybody.reward.state, pairs) is not None

    def reward_of(self, user: str) -> Derived:
        """A user's reward; that of people in general before the first label."""
        return self.rewards.of(user) or self.rewards.everybody

    def admit(self, request: Request, scope: str | None, authorization: str | None = None) -> Bearer:
        """Returns who sends a request; raises `Refusal` if they may not, or ask too often.

        Args:
            request: The request.
            scope: What it needs; None for nothing.
            authorization: Read in the place of the header of this name.
        """
        tokens = self.settings.tokens
        if not tokens:
            # A web page whose name leads to this machine would else be of the same origin as the service.
            host = split_address(f"//{request.headers.get('host', '')}").hostname
            if host not in LOOPBACK:
                raise Refusal(421, f"without tokens the service answers to {', '.join(LOOPBACK)} only.")
        bearer = tokens.bearer(authorization or request.headers.get("authorization"))
        self._rate.take(bearer.name)
        if scope:
            bearer.need(scope)
        return bearer

    def user_of(self, request: Request, bearer: Bearer, body: Body, label: Any = None) -> str | None:
        """Returns whose taste a request is for; None for people in general. Raises as `find_user` does.

        Args:
            request: The request.
            bearer: Who sends it.
            body: Its body.
            label: One more place that may name the user.
        """
        header = self.settings.trusted_header
        return find_user(
            bearer,
            {
                "the path": request.path_params.get("user"),
                "model": user_in_model(body.get("model"), self.settings.name),
                "user": body.get("user"),
                "a label": label,
                f"the header {header}": request.headers.get(header) if header else None,
            },
        )

    async def score(
        self, bearer: Bearer, user: str | None, prompts: Sequence[Prompt], texts: Sequence[str]
    ) -> Scored:
        """Returns the rewards of texts, each in answer to its prompt. Raises as `compute` does."""
        return await self.compute(bearer, user, lambda reward: _score(reward, prompts, texts))

    async def compute(self, bearer: Bearer, user: str | None, work: Callable[[UserReward], T]) -> T:
        """Returns what `work` makes of somebody's reward.

        Raises:
            Refusal: There is no such user, or too many requests wait.
            FspoError: As `work`.
        """
        return await self.computing.run(lambda: work(self._derived(bearer, user).reward))

    async def compute_with_labels(self, user: str, work: Callable[[Derived], T]) -> T:
        """As `compute`, for what needs the ids of a user's labels; a user without labels is an error.

        Raises:
            Refusal, FspoError: As `compute`.
        """

        def run() -> T:
            derived = self.rewards.of(user)
            if derived is None:
                raise missing_user(user)
            return work(derived)

        return await self.computing.run(run)

    def _derived(self, bearer: Bearer, user: str | None) -> Derived:
        found = self.rewards.everybody if user is None else self.rewards.of(user)
        if found is not None:
            return found
        if bearer.user == user or self.settings.unknown_is_population:
            return self.rewards.everybody
        assert user is not None
        raise missing_user(user)


def missing_user(user: str) -> Refusal:
    """The refusal of a request for somebody who has no labels."""
    return Refusal(404, f"there is no user '{user}'. Append preferences first.")


def _score(reward: UserReward, prompts: Sequence[Prompt], texts: Sequence[str]) -> Scored:
    rewards, uncertainty = np.zeros((2, len(texts)), np.float32)
    places: dict[Prompt, list[int]] = {}
    for place, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(place)
    for prompt, rows in places.items():
        rewards[rows], uncertainty[rows] = reward.score_with_uncertainty(prompt, [texts[row] for row in rows])
    return Scored(rewards, uncertainty)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    return request.app.state.service


class Asked(NamedTuple):
    """A request for scores: service, sender, body, and whose taste is wanted; None for people in general."""

    service: Service
    bearer: Bearer
    body: Body
    user: str | None


async def ask_for_scores(request: Request) -> Asked:
    """Reads a request for scores. Raises as `Service.admit`, `read_object` and `Service.user_of`."""
    service = service_of(request)
    bearer = service.admit(request, "rank")
    body = await read_object(request, service.settings.limits)
    return Asked(service, bearer, body, service.user_of(request, bearer, body))
