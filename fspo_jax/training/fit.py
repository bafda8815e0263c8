"""The trainer of all tasks: steps, stopping and resuming, checkpoints, log, model selection and export."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.checkpoints import CHECKPOINTS, REWARD
from fspo_jax.config import TrainConfig, check_config, config_to_dict
from fspo_jax.config.checks import check_steps
from fspo_jax.errors import CheckpointError, TrainingError, TrainingInterrupted
from fspo_jax.processes import any_process, on_main
from fspo_jax.training.run.checkpoints import Best, RunCheckpoints
from fspo_jax.training.run.directory import check_data, is_finished, open_run
from fspo_jax.training.run.log import MetricsLog
from fspo_jax.training.run.signals import StopSignal
from fspo_jax.training.state import StepMetrics, TrainState
from fspo_jax.training.tasks.contract import Task

_log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """Progress of a run, passed to `on_progress` after every dispatch.

    Attributes:
        run: Directory of the run that is training now: the run itself, or a run inside its directory, such as the
            population baseline.
        scorer: Kind of the scorer that is being trained.
        step: Number of steps done.
        steps: Number of steps of the whole run, unless it is stopped early.
        loss: Mean training loss of the dispatch.
        validation: Metrics on meta-validation users if the dispatch ended with an evaluation, else None.
        best_step: Step of the best evaluation so far; None before the first.
        ended: Whether this was the last dispatch of the run; before `steps` if it is stopped early.
    """

    run: Path
    scorer: str
    step: int
    steps: int
    loss: float
    validation: Mapping[str, float] | None
    best_step: int | None
    ended: bool


OnProgress = Callable[[Progress], None]


def fit(
    task: Task,
    run: str | Path,
    *,
    resume: bool = False,
    finish: bool = False,
    on_progress: OnProgress | None = None,
) -> Path:
    """Meta-trains a task in a run directory.

    Args:
        task: What to train, and on what.
        run: A new or empty directory; with `resume`, the directory of an earlier run of the same task.
        resume: Whether to continue from the last checkpoint. A finished run is not changed.
        finish: With `resume`, whether to take no further step, and to export the best checkpoint so far.
        on_progress: Called after every dispatch.

    Returns:
        Directory of the exported reward: the checkpoint with the smallest validation log loss.

    Raises:
        CheckpointError: Without `resume`, the directory is not empty. With `resume`, it has no run, or the run has a
            different config or other data. With `finish`, it has no evaluation. Or it cannot be written.
        ConfigError: A value of the config is not allowed, or this machine cannot run it.
        DataError: Users have too few pairs.
        TrainingError: The loss is not finite.
        TrainingInterrupted: SIGTERM or Ctrl-C; a checkpoint is saved and the run can be resumed.

    Example:
        >>> fit(HeadTask(config, scorer, *train, *validation), "runs/mine")  # doctest: +SKIP
    """
    run, config = Path(run), task.config
    check_config(config)
    check_steps(config)
    on_main(lambda: open_run(run, config, resume=resume))
    if is_finished(run):
        return run / REWARD
    state = task.init()
    on_main(lambda: check_data(run, *task.tables, task.dimension))
    with (
        StopSignal() as stop,
        RunCheckpoints(run / CHECKPOINTS, config_to_dict(config), state) as checkpoints,
    ):
        if checkpoints.newest is not None:
            state = jax.device_put(checkpoints.newest, jax.tree.map(lambda leaf: leaf.sharding, state))
        step = int(state.step)
        if not finish:
            with MetricsLog(run, step) as log:
                step = _take_steps(task, run, state, checkpoints, log, stop, on_progress)
        elif checkpoints.best_so_far is None:
            raise nothing_to_finish(run)
        else:
            _log.info(
                "%s: ends as it is, with its best checkpoint, that of step %s of %s",
                config.scorer.kind.replace("_", " "),
                checkpoints.best_so_far.step,
                config.steps,
            )
        best, validation = checkpoints.best()
        task.export(run / REWARD, best.params, validation)
        # A signal during the last evaluation or later: this run is done, but others may follow.
        if any_process(stop.received is not None):
            raise _interrupted(stop, step, config, run / REWARD)
    return run / REWARD


def nothing_to_finish(run: Path) -> CheckpointError:
    """The error of a run that is to be finished before its first evaluation."""
    return CheckpointError(
        f"{run}: there was no evaluation yet, so there is no reward to export. Go on with resume=True, or `--resume`."
    )


def _take_steps(
    task: Task,
    run: Path,
    state: TrainState,
    checkpoints: RunCheckpoints,
    log: MetricsLog,
    stop: StopSignal,
    on_progress: OnProgress | None,
) -> int:
    """Takes the remaining steps, with evaluations and checkpoints between the dispatches.

    Returns:
        Number of the last step.
    """
    config, step = task.config, int(state.step)
    if config.start and checkpoints.newest is None:
        checkpoints.save(state, task.validate(state.params))
    _log.info(
        "%s: compiling the training step; the first steps take longer", config.scorer.kind.replace("_", " ")
    )
    while not _has_ended(config, step, checkpoints.best_so_far):
        started = time.perf_counter()
        state, metrics = task.dispatch(state)
        metrics = jax.device_get(metrics)
        seconds = time.perf_counter() - started
        _check_finite(metrics, step, checkpoints)
        step += config.steps_per_dispatch
        validation = None
        if step % config.evaluate_every == 0 or step == config.steps:
            validation = task.validate(state.params)
            if not np.isfinite(validation["log_loss"]):
                raise _not_finite(f"validation loss after step {step}", checkpoints)
        summary = {
            "loss": float(metrics.loss.mean()),
            "gradient_norm": float(metrics.gradient_norm.mean()),
            "steps_per_second": config.steps_per_dispatch / seconds,
        } | ({} if metrics.tokens is None else {"tokens": float(metrics.tokens.sum())})
        log.write(step, summary, validation)
        stopping = any_process(stop.received is not None)
        if stopping or validation is not None:
            checkpoints.save(state, validation)
        best = checkpoints.best_so_far
        ended = _has_ended(config, step, best)
        if on_progress is not None:
            on_progress(
                Progress(
                    run=run,
                    scorer=config.scorer.kind,
                    step=step,
                    steps=config.steps,
                    loss=summary["loss"],
                    validation=validation,
                    best_step=best.step if best else None,
                    ended=ended,
                )
            )
        if stopping and not ended:
            checkpoints.wait()
            raise _interrupted(stop, step, config, checkpoints.newest_path)
    return step


def _has_ended(config: TrainConfig, step: int, best: Best | None) -> bool:
    """Whether all steps are done, or the run stops early after too many evaluations without improvement.

    It depends on the checkpoint only, so that a resumed run stops at the same step as an uninterrupted one.
    """
    patience = config.early_stopping * config.evaluate_every
    return step >= config.steps or (patience > 0 and best is not None and step - best.step >= patience)


def _check_finite(metrics: StepMetrics, step: int, checkpoints: RunCheckpoints) -> None:
    bad = ~(np.isfinite(metrics.loss) & np.isfinite(metrics.gradient_norm))
    if bad.any():
        first = int(bad.argmax())
        raise _not_finite(
            f"loss ({metrics.loss[first]}) or its gradient (norm {metrics.gradient_norm[first]}) in step "
            f"{step + first + 1}",
            checkpoints,
        )


def _not_finite(what: str, checkpoints: RunCheckpoints) -> TrainingError:
    checkpoints.wait()
    return TrainingError(
        f"the {what} is not finite. Last good checkpoint: {checkpoints.newest_path or 'none'}. "
        "Start another run with a smaller 'optimizer.learning_rate' or 'optimizer.clip_norm'."
    )


def _interrupted(stop: StopSignal, step: int, config: TrainConfig, saved: Path | None) -> TrainingInterrupted:
    """Returns the error of a stopped run; `saved` is the checkpoint to resume from."""
    received = stop.received or signal.SIGINT
    return TrainingInterrupted(
        f"stopped by {received.name} after step {step} of {config.steps} of the {config.scorer.kind} scorer; saved as "
        f"{saved}. Go on with resume=True, or `--resume`.",
        received,
    )
