"""What a reward computes with: the same interface for frozen features and for language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fspo_jax.types import Preference, Prompt

Context = Any
"""What an engine keeps of labelled pairs; a saved user holds it."""

State = Any
"""What an engine makes of a context to score with."""


class Engine(Protocol):
    """Functions of a reward on checked values; `PersonalizedReward` and `UserReward` check them."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides a user's state; a saved user belongs to one."""
        ...

    def read(self, preferences: Sequence[Preference]) -> Context:
        """The context that labelled pairs give."""
        ...

    def join(self, context: Context, more: Context) -> Context:
        """Both contexts in a row."""
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
        """Rewards and their posterior deviations from the candidates' mean, `float32 [C]` in nats; C is not 0."""
        ...

    def margins(
        self, contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of r(chosen) - r(rejected) of many users' queries, `[B, Q]`, zero behind the last query."""
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
        """Samples responses from the user's policy; raises `FspoError` where the reward is none."""
        ...

    def describe(self, state: State, temperature: float, max_tokens: int, seed: int) -> str:
        """Samples a description of the user; raises `FspoError` where the model has not learned to."""
        ...

    def with_description(self, context: Context, text: str) -> Context:
        """The context with a description of the user; raises `FspoError` where nothing reads it."""
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


def bucket(count: int, smallest: int) -> int:
    """The next power of two, at least `smallest`: one compiled program a bucket."""
    return max(smallest, 1 << (count - 1).bit_length()) if count else smallest
