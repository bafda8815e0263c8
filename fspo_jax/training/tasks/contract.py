"""What the trainer needs to know about what it trains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fspo_jax.config import TrainConfig
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.models.scorers.contract import Params
from fspo_jax.training.state import StepMetrics, TrainState


class Task(Protocol):
    """One thing that can be meta-trained. `training.fit.fit` does all that does not depend on what it is.

    A task is made for one run. The constructor checks that the config and the data fit and raises `FspoError` if not;
    what takes long is done in `init`.
    """

    @property
    def config(self) -> TrainConfig:
        """Everything that decides the run."""
        ...

    @property
    def tables(self) -> tuple[EpisodeTable, EpisodeTable]:
        """Pairs of the meta-training and of the meta-validation users, who share no user."""
        ...

    @property
    def dimension(self) -> int:
        """Width of the features that the scorer reads. Asked after `init`."""
        ...

    def init(self) -> TrainState:
        """The state before the first step, laid over the devices as the steps need it. Called once, first."""
        ...

    def dispatch(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        """Takes `config.steps_per_dispatch` steps.

        The given state may be donated. Which episodes are drawn depends on (seed, step) only: a resumed run must take
        the same steps as one that was never stopped.

        Returns:
            The new state, and metrics `[steps]`.
        """
        ...

    def validate(self, params: Params) -> dict[str, float]:
        """Metrics on meta-validation users: `log_loss` (nats; selects the model), `accuracy`, and both at K shots as
        `log_loss@K` and `accuracy@K`."""
        ...

    def export(self, directory: Path, params: Params, validation: Mapping[str, float]) -> None:
        """Writes the reward with these parameters, whole or not at all. Of several processes, all call it."""
        ...
