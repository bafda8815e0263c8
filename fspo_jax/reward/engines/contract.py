"""The contracts of a reward's computations: scoring, and writing for language models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from fspo_jax.config import TrainConfig
from fspo_jax.errors import CheckpointError
from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.types import Episode, Preference, Prompt, Sampling, Writer

Context = Any
"""The stored form of a user's labelled pairs, as in a saved user."""

State = Any
"""The form of a context that scores candidates."""


SHORTEST_HALF_LIFE = 1e-3
"""In days or pairs."""


class Keeping(NamedTuple):
    """How a user's pairs are kept.

    Attributes:
        texts: Whether their texts are kept.
        half_life: Time in which half of a person's taste changes, in days or pairs; infinite for a steady taste.
    """

    texts: bool = False
    half_life: float = math.inf


NO_TEXTS = Keeping()
"""No texts, and a taste that does not change."""


class MarginPosterior(NamedTuple):
    """What is known of the margins r(a) - r(b) of N pairs of responses, before the temperature of a calibrated reward.

    Attributes:
        rewards: `float32 [N, 2]`, posterior means of r(a) and r(b), in nats.
        variance: `float32 [N]`, posterior variances of the margins, in nats squared.
        covariance: `i -> float32 [N]`, posterior covariances of all margins with margin i.
    """

    rewards: np.ndarray
    variance: np.ndarray
    covariance: Callable[[int], np.ndarray]


class Taste(NamedTuple):
    """What N steps in the features are worth to a user, before the temperature of a calibrated reward.

    Attributes:
        weights: `float32 [N]`, posterior means, nats.
        deviations: `float32 [N]`, posterior standard deviations.
    """

    weights: np.ndarray
    deviations: np.ndarray


class Scoring(Protocol):
    """Scores candidates for one user. `PersonalizedReward` and `UserReward` check all values before they call it."""

    @property
    def config(self) -> TrainConfig:
        """The config of meta-training."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of everything that a user's state depends on. A saved user belongs to one fingerprint."""
        ...

    @property
    def featurizer(self) -> FeatureFunction | None:
        """Turns texts into the features that are scored; None for models that read the texts themselves."""
        ...

    @property
    def feature_margins(self) -> Callable[[Episode], tuple[Any, Any]] | None:
        """As `margins`, for an episode of features of `featurizer`; None for models that read the texts themselves."""
        ...

    @property
    def weighs_pairs(self) -> bool:
        """Whether pairs may fade, and any number of them is read. Otherwise `max_context` is the limit."""
        ...

    def read(
        self, preferences: Sequence[Preference], keeping: Keeping = NO_TEXTS, days: Sequence[float] = ()
    ) -> Context:
        """Turns labelled pairs into a context, the oldest first. A pair given twice counts once.

        Args:
            preferences: The pairs.
            keeping: How they are kept. A half-life needs `weighs_pairs`.
            days: When each was labelled, in days; without it, ages are counted in pairs.
        """
        ...

    def join(
        self, context: Context, preferences: Sequence[Preference], days: Sequence[float] = ()
    ) -> Context:
        """Adds pairs to a context, as `read` does. A pair that the context has moves to the end."""
        ...

    def without(self, context: Context, preferences: Sequence[Preference]) -> Context:
        """Takes pairs out of a context; raises `DataError` if one is not in it, or cannot be taken out any more."""
        ...

    def preferences(self, context: Context) -> tuple[Preference, ...] | None:
        """The pairs of a context, or None if it keeps no texts."""
        ...

    def left_out(self, context: Context, place: int) -> Context | None:
        """A context without one of its pairs, counted from the oldest; None if it cannot be taken out any more."""
        ...

    def kept_margin(self, state: State, context: Context, place: int) -> tuple[float, float]:
        """Mean and variance of r(chosen) - r(rejected) of a pair of a context that can be taken out."""
        ...

    def taste(self, state: State, steps: np.ndarray | None = None) -> Taste | None:
        """What steps in the features are worth to a user; None where rewards are not linear in features.

        Args:
            state: Of the user.
            steps: `float32 [N, F]`; None for a unit of each column.
        """
        ...

    def has(self, context: Context, preferences: Sequence[Preference]) -> list[bool]:
        """Whether each pair is in the context, with this label."""
        ...

    def count(self, context: Context) -> int:
        """Number of distinct pairs of a context."""
        ...

    def keeping(self, context: Context) -> Keeping:
        """How the pairs of a context are kept."""
        ...

    def dated(self, context: Context) -> bool:
        """Whether the pairs have days."""
        ...

    def state(self, context: Context) -> State:
        """Turns a context into a state."""
        ...

    def update(self, state: State, context: Context) -> State:
        """Returns the state of `context`, given the state that it had before more pairs were added."""
        ...

    def score(self, state: State, prompt: Prompt, candidates: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns rewards, and the posterior deviations of each minus their mean: `float32 [C]` in nats, C > 0."""
        ...

    def margin_posterior(self, state: State, pairs: Sequence[Preference]) -> MarginPosterior | None:
        """What is known of the margins of pairs, whose labels are not read; None for models without a posterior."""
        ...

    def margins(
        self, contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of r(chosen) - r(rejected), `[B, Q]`, for the queries of B users; zero for padding."""
        ...

    def warm_up(self) -> None:
        """Compiles the programs of `state` and `score` ahead of time."""
        ...

    def to_arrays(self, context: Context) -> dict[str, np.ndarray]:
        """Returns a context as arrays, for a saved user."""
        ...

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> Context:
        """The inverse of `to_arrays`; raises `KeyError` or `ValueError` for wrong arrays."""
        ...

    def save(self, path: str | Path, temperature: float) -> None:
        """Writes an exported reward directory."""
        ...


class Writing(Protocol):
    """Writes text, for rewards that are language models that read the context. Other rewards have no such part."""

    @property
    def generates(self) -> bool:
        """Whether the reward is a policy, so that `generate` can be used."""
        ...

    @property
    def describes(self) -> bool:
        """Whether the model was meta-trained to describe people, so that `describe` can be used."""
        ...

    def writer(self, state: State) -> Writer:
        """The user's policy."""
        ...

    def guided(self, state: State, writer: Writer | None, strength: float) -> Writer:
        """A writer to whose logits the user's log-ratio is added; None for the reference after the same context."""
        ...

    def processor(self, state: State, prompt: Prompt, strength: float) -> Callable[[Any, Any], Any]:
        """A logits processor of transformers that adds the user's log-ratio."""
        ...

    def describe(self, state: State, sampling: Sampling) -> str:
        """Samples a description of the user."""
        ...

    def with_description(self, context: Context, text: str) -> Context:
        """Adds a description of the user to a context."""
        ...

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str],
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Scoring.margins`, for a model that also reads a description of each user."""
        ...


def check_finite(rewards: np.ndarray) -> None:
    """Raises `CheckpointError` if a reward is not a finite number, so that it can never become a rank."""
    if not np.isfinite(rewards).all():
        raise CheckpointError(
            "the reward of a text is not a finite number: the reward or the saved user is damaged, or its numbers are "
            "too large. Load another copy, or train it again."
        )


def bucket(count: int, smallest: int) -> int:
    """Returns the next power of two, at least `smallest`. One program is compiled per bucket."""
    return max(smallest, 1 << (count - 1).bit_length()) if count else smallest
