"""What a reward computes with: one contract for scoring, and one for writing where the reward is a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fspo_jax.models.features.featurizer import FeatureFunction
from fspo_jax.types import Episode, Preference, Prompt

Context = Any
"""What is kept of a user's labelled pairs; a saved user holds it."""

State = Any
"""What a context is turned into; candidates are scored with it."""


class Scoring(Protocol):
    """Scores for one user. `PersonalizedReward` and `UserReward` check all values before they call it."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides a user's state; a saved user belongs to one."""
        ...

    @property
    def featurizer(self) -> FeatureFunction | None:
        """What turns texts into the features that are scored; None where the texts themselves are read."""
        ...

    @property
    def feature_margins(self) -> Callable[[Episode], tuple[Any, Any]] | None:
        """As `margins`, for an episode of features by `featurizer`; None where the texts themselves are read."""
        ...

    def read(self, preferences: Sequence[Preference]) -> Context:
        """The context that labelled pairs give."""
        ...

    def join(self, context: Context, more: Context) -> Context:
        """One context with the pairs of both, in order."""
        ...

    def count(self, context: Context) -> int:
        """Number of pairs."""
        ...

    def state(self, context: Context) -> State:
        """Conditions on a context."""
        ...

    def update(self, state: State, context: Context, more: Context) -> State:
        """The state of `join(context, more)`, given the one of `context`."""
        ...

    def score(self, state: State, prompt: Prompt, candidates: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Rewards, and their posterior deviations from the candidates' mean reward: `float32 [C]` in nats, C > 0."""
        ...

    def margins(
        self, contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of r(chosen) - r(rejected), `[B, Q]`, for B users' queries; zero behind a user's last."""
        ...

    def warm_up(self) -> None:
        """Compiles ahead of time what `state` and `score` need."""
        ...

    def to_arrays(self, context: Context) -> dict[str, np.ndarray]:
        """A context as a saved user holds it."""
        ...

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> Context:
        """The inverse of `to_arrays`; raises `KeyError` or `ValueError` where the arrays do not fit."""
        ...

    def save(self, path: str | Path, temperature: float) -> None:
        """Writes an exported reward directory."""
        ...


class Writing(Protocol):
    """What a language model that reads the context can do besides scoring. Other rewards have no such part."""

    @property
    def generates(self) -> bool:
        """Whether the reward is a policy, so that `generate` means something."""
        ...

    @property
    def describes(self) -> bool:
        """Whether the model was meta-trained to describe people, so that `describe` means something."""
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
        """The context with a description of the user."""
        ...

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str],
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Scoring.margins`, where the model also reads a description of each user."""
        ...


def bucket(count: int, smallest: int) -> int:
    """The next power of two, at least `smallest`: one compiled program per bucket."""
    return max(smallest, 1 << (count - 1).bit_length()) if count else smallest
