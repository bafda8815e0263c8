"""The contract between the trainer and the tasks it can train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fspo_jax.config import TrainConfig
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.models.scorers.contract import Params
from fspo_jax.training.state import StepMetrics, TrainState


class Task(Protocol):
    """One kind of meta-training. `training.fit.fit` does everything that is the same for all kinds.

    A task is made for one run. Its constructor is quick and raises `FspoError` if config and data do not go together.
    `init` does what takes long.
    """

    @property
    def config(self) -> TrainConfig:
        """Everything that decides the run."""
        ...

    @property
    def tables(self) -> tuple[EpisodeTable, EpisodeTable]:
        """Pairs of the meta-training users and of the meta-validation users; no user is in both."""
        ...

    @property
    def dimension(self) -> int:
        """Width of the features that the scorer reads. Known after `init`."""
        ...

    def init(self) -> TrainState:
        """Returns the state before the first step, divided over the devices. Called once, before all other methods."""
        ...

    def dispatch(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        """Takes `config.steps_per_dispatch` steps.

        The given state may be donated. The episodes depend on (seed, step) only, so that a resumed run takes the same
        steps as one that was never stopped.

        Returns:
            The new state, and metrics `[steps]`.
        """
        ...

    def validate(self, params: Params) -> dict[str, float]:
        """Returns metrics on meta-validation users: `log_loss` (in nats; selects the model) and `accuracy`.

        Both are also given at K shots, as `log_loss@K` and `accuracy@K`.
        """
        ...

    def export(self, directory: Path, params: Params, validation: Mapping[str, float]) -> None:
        """Writes the reward with these parameters: all of it or nothing. Every process of a run calls it."""
        ...
