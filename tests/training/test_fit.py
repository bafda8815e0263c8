"""The trainer itself, on a task that computes nothing: its losses are written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import tiny_config, tiny_world

from fspo_jax.checkpoints import METADATA
from fspo_jax.cli.training import _show
from fspo_jax.config import TrainConfig
from fspo_jax.errors import CheckpointError
from fspo_jax.training.fit import Progress, fit
from fspo_jax.training.run.directory import CONFIG
from fspo_jax.training.state import StepMetrics, TrainState

LOSSES = (0.9, 0.5, 0.7, 0.6, 0.4, 0.8)
"""Validation log loss after 10, 20, ... steps."""


class WrittenTask:
    """Parameters are the number of steps taken."""

    dimension = 1

    def __init__(self, config: TrainConfig, losses: tuple[float, ...] = LOSSES):
        self.config, self.tables = config, (tiny_world(1)[0], tiny_world(2)[0])
        self._losses = losses
        self.exported: dict[str, float] | None = None

    def init(self) -> TrainState:
        return TrainState({"steps": jnp.zeros(())}, (), jnp.zeros((), jnp.int32))

    def dispatch(self, state: TrainState) -> tuple[TrainState, StepMetrics]:
        taken = self.config.steps_per_dispatch
        params = {"steps": state.params["steps"] + taken}
        metrics = StepMetrics(np.full(taken, 0.5), np.ones(taken))
        return TrainState(params, (), state.step + taken), metrics

    def validate(self, params: Mapping[str, jax.Array]) -> dict[str, float]:
        loss = self._losses[int(params["steps"]) // 10 - 1]
        return {"log_loss": loss, "accuracy": 0.5, "log_loss@0": loss, "log_loss@4": loss / 2}

    def export(
        self, directory: Path, params: Mapping[str, jax.Array], validation: Mapping[str, float]
    ) -> None:
        directory.mkdir()
        (directory / METADATA).write_text(json.dumps({"steps": float(params["steps"]), **validation}))


class Crash(Exception):
    """Stands for a crash."""


def run_of(path: Path, early_stopping: int = 0, **options: object) -> tuple[list[int], dict[str, float]]:
    """Runs to the end; gives the steps that progress reported, and what was exported."""
    seen: list[Progress] = []
    task = WrittenTask(tiny_config(steps=60, early_stopping=early_stopping))
    reward = fit(task, path, on_progress=seen.append, **options)
    return [progress.step for progress in seen], json.loads((reward / METADATA).read_text())


@pytest.mark.parametrize(
    ("early_stopping", "last", "best"), [(0, 60, 50), (1, 30, 20), (2, 40, 20), (3, 60, 50), (9, 60, 50)]
)
def test_fit_stops_after_so_many_evaluations_without_improvement(
    tmp_path: Path, early_stopping: int, last: int, best: int
) -> None:
    steps, exported = run_of(tmp_path / "run", early_stopping)
    assert steps == list(range(5, last + 1, 5))
    assert exported["steps"] == best and exported["log_loss"] == min(LOSSES[: last // 10])


@pytest.mark.parametrize("crash", [15, 20, 25, 30, 35, 40])
def test_fit_stopped_early_after_a_crash_ends_as_if_undisturbed(tmp_path: Path, crash: int) -> None:
    def on_progress(progress: Progress) -> None:
        if progress.step == crash:
            raise Crash

    config = tiny_config(steps=60, early_stopping=2)
    with pytest.raises(Crash):
        fit(WrittenTask(config), tmp_path / "run", on_progress=on_progress)
    steps, exported = run_of(tmp_path / "run", early_stopping=2, resume=True)
    assert steps == list(
        range(crash // 10 * 10 + 5, 41, 5)
    )  # from the last evaluation; none where that was the last
    assert exported["steps"] == 20


def test_fit_with_equal_losses_counts_no_improvement(tmp_path: Path) -> None:
    config = tiny_config(steps=60, early_stopping=3)
    seen: list[Progress] = []
    fit(WrittenTask(config, (0.5,) * 6), tmp_path / "run", on_progress=seen.append)
    assert seen[-1].step == 40 and seen[-1].ended and seen[-1].best_step == 10
    assert [progress.ended for progress in seen[:-1]] == [False] * (len(seen) - 1)
    assert [progress.best_step for progress in seen[:2]] == [None, 10]


def test_progress_in_the_terminal_has_log_loss_and_accuracy_at_the_fewest_and_the_most_shots() -> None:
    shown: list[tuple] = []

    class Bars:
        def show(self, *arguments: object) -> None:
            shown.append(arguments)

    found = {
        f"{name}@{k}": value for name, value in (("log_loss", 0.25), ("accuracy", 0.75)) for k in (0, 2, 16)
    }
    found["log_loss@0"] = 0.693
    progress = Progress(
        run=Path("run"),
        scorer="preferential_gp",
        step=50,
        steps=600,
        loss=0.5,
        validation={**found, "log_loss": 0.4},
        best_step=50,
        ended=False,
    )
    _show(Bars(), "run/", progress)  # type: ignore[arg-type]
    last = progress._replace(run=Path("run/population"), step=100, validation=None, ended=True)
    _show(Bars(), "run/", last)  # type: ignore[arg-type]
    assert shown == [
        (
            "preferential_gp",
            50,
            600,
            {"loss": "0.500", "log loss": "0.693@0 0.250@16", "accuracy": "75%@0 75%@16"},
        ),
        ("population", 100, 100, {"loss": "0.500", "stopped early:": "best at step 50"}),
    ]


@pytest.mark.parametrize(
    "content", ["{}", '{"seed": 3, "steps": 40}', '{"format_version": 1, "config": {}}', "[]"]
)
def test_fit_resuming_a_run_of_an_older_version_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / CONFIG).write_text(content)
    message = (
        r"made by an older version of fspo_jax .* Train again in another directory, or use version 0\.1\.0"
    )
    with pytest.raises(CheckpointError, match=message):
        run_of(tmp_path, resume=True)


def test_fit_resuming_with_more_steps_says_how_to_train_longer(tmp_path: Path) -> None:
    run_of(tmp_path / "run")
    with pytest.raises(
        CheckpointError, match=r"steps \(was 60, now 80\)\. To train longer, start another run"
    ):
        fit(WrittenTask(tiny_config(steps=80)), tmp_path / "run", resume=True)
