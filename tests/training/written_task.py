"""A task that computes nothing: for tests of the trainer, which is the same for every task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tiny_run import tiny_config, tiny_world

from fspo_jax.checkpoints import METADATA
from fspo_jax.config import TrainConfig
from fspo_jax.training.fit import Progress, fit
from fspo_jax.training.state import StepMetrics, TrainState

LOSSES = (0.9, 0.5, 0.7, 0.6, 0.4, 0.8)
"""Validation log loss after 10, 20, ... steps."""


class WrittenTask:
    """Its parameter is the number of steps taken, its losses are written down.

    Args:
        config: Of the run.
        losses: Validation log loss of each evaluation.
        users: Meta-training users.
        broken: The loss is not finite.
    """

    dimension = 1

    def __init__(
        self,
        config: TrainConfig,
        losses: tuple[float, ...] = LOSSES,
        *,
        users: int = 12,
        broken: bool = False,
    ):
        self.config, self.tables = config, (tiny_world(1, users)[0], tiny_world(2)[0])
        self._losses, self._broken = losses, broken

    def init(self) -> TrainState:
        return TrainState({"steps": jnp.zeros(())}, (), jnp.zeros((), jnp.int32))

    def dispatch(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        taken = self.config.steps_per_dispatch
        params = {"steps": state.params["steps"] + taken}
        losses = 1 / (1 + int(state.step) + np.arange(taken)) + (np.nan if self._broken else 0)
        return TrainState(params, (), state.step + taken), StepMetrics(losses, np.ones(taken))

    def validate(self, params: Mapping[str, jax.Array]) -> dict[str, float]:
        loss = self._losses[int(params["steps"]) // 10 - 1]
        return {"log_loss": loss, "accuracy": 0.5, "log_loss@0": loss, "log_loss@4": loss / 2}

    def export(
        self, directory: Path, params: Mapping[str, jax.Array], validation: Mapping[str, float]
    ) -> None:
        directory.mkdir()
        (directory / METADATA).write_text(json.dumps({"steps": float(params["steps"]), **validation}))


def run_written(run: Path, *, resume: bool = False, crash: int = 0, **changes: Any) -> list[Progress]:
    """Fits the task to the tiny config with some changes; gives what was reported. See `crash_after`."""
    seen: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        crash_after(crash)(progress)

    fit(WrittenTask(tiny_config(**changes)), run, resume=resume, on_progress=on_progress)
    return seen


class Crash(Exception):
    """Stands for a crash."""


def crash_after(step: int) -> Callable[[Progress], None]:
    """Raises `Crash` when a step is reported."""

    def on_progress(progress: Progress) -> None:
        if progress.step == step:
            raise Crash

    return on_progress


def rows(run: Path) -> list[dict]:
    """Lines of the metrics file."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[tuple[int, float]]:
    """Steps and losses of the metrics file."""
    return [(row["step"], row["loss"]) for row in rows(run)]


def exported(run: Path) -> dict[str, float]:
    """What the written task exported."""
    return json.loads((run / "reward" / METADATA).read_text())
