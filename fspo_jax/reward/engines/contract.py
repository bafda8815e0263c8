"""The contracts of a reward's computations: scoring, and writing for language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.types import Episode, Preference, Prompt

Context = Any
"""The stored form of a user's labelled pairs, as in a saved user."""

State = Any
"""The form of a context that scores candidates."""


class Scoring(Protocol):
    """Scores candidates for one user. `PersonalizedReward` and `UserReward` check all values before they call it."""

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

    def read(self, preferences: Sequence[Preference]) -> Context:
        """Turns labelled pairs into a context."""
        ...

    def join(self, context: Context, more: Context) -> Context:
        """Joins the pairs of two contexts, in order."""
        ...

    def count(self, context: Context) -> int:
        """Number of pairs of a context."""
        ...

    def state(self, context: Context) -> State:
        """Turns a context into a state."""
        ...

    def update(self, state: State, context: Context, more: Context) -> State:
        """Returns the state of `join(context, more)`, given the state of `context`."""
        ...

    def score(self, state: State, prompt: Prompt, candidates: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Returns rewards, and the posterior deviations of each minus their mean: `float32 [C]` in nats, C > 0."""
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

    def generate(
        self,
        state: State,
        prompt: Prompt,
        n: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> list[str]:
        """Samples n responses from the user's policy."""
        ...

    def describe(self, state: State, temperature: float, max_tokens: int, seed: int) -> str:
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


def bucket(count: int, smallest: int) -> int:
    """Returns the next power of two, at least `smallest`. One program is compiled per bucket."""
    return max(smallest, 1 << (count - 1).bit_length()) if count else smallest
