"""The loop around the steps, whatever is trained: evaluations, checkpoints, metrics, signals."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.config import TrainConfig
from fspo_jax.errors import TrainingError, TrainingInterrupted
from fspo_jax.models.scorers.contract import Params
from fspo_jax.processes import any_process
from fspo_jax.training.run.checkpoints import RunCheckpoints
from fspo_jax.training.run.log import MetricsLog
from fspo_jax.training.run.signals import StopSignal
from fspo_jax.training.state import TrainState
from fspo_jax.training.tasks.head import StepMetrics


class Progress(NamedTuple):
    """Where a run is; given to `on_progress` after every dispatch.

    Attributes:
        scorer: Kind of scorer that is trained now: the config's, then perhaps the population baseline.
        step: Steps done.
        steps: Steps of the whole run.
        loss: Mean training loss of the dispatch.
        validation: Metrics on meta-validation users where the dispatch ended with an evaluation, else None.
    """

    scorer: str
    step: int
    steps: int
    loss: float
    validation: Mapping[str, float] | None


def run_steps(
    config: TrainConfig,
    state: TrainState,
    dispatch: Callable[[TrainState], tuple[TrainState, StepMetrics]],
    validate: Callable[[Params], dict[str, float]],
    checkpoints: RunCheckpoints,
    log: MetricsLog,
    stop: StopSignal,
    on_progress: Callable[[Progress], None] | None,
) -> None:
    """Runs the steps that are left, with evaluations and checkpoints between the dispatches."""
    step = int(state.step)
    while step < config.steps:
        started = time.perf_counter()
        state, metrics = dispatch(state)
        metrics = jax.device_get(metrics)
        seconds = time.perf_counter() - started
        _check_finite(metrics, step, checkpoints)
        step += config.steps_per_dispatch
        validation = None
        if step % config.evaluate_every == 0 or step == config.steps:
            validation = validate(state.params)
            if not np.isfinite(validation["log_loss"]):
                raise _not_finite(f"validation loss after step {step}", checkpoints)
        summary = {
            "loss": float(metrics.loss.mean()),
            "gradient_norm": float(metrics.gradient_norm.mean()),
            "steps_per_second": config.steps_per_dispatch / seconds,
        }
        log.write(step, summary, validation)
        stopping = any_process(stop.received is not None) and step < config.steps
        if stopping or validation is not None:
            checkpoints.save(state, validation)
        if on_progress is not None:
            on_progress(Progress(config.scorer.kind, step, config.steps, summary["loss"], validation))
        if stopping:
            checkpoints.wait()
            raise interrupted(stop, step, config, checkpoints.newest_path)


def _check_finite(metrics: StepMetrics, step: int, checkpoints: RunCheckpoints) -> None:
    bad = ~(np.isfinite(metrics.loss) & np.isfinite(metrics.gradient_norm))
    if bad.any():
        first = int(bad.argmax())
        raise _not_finite(
            f"loss ({metrics.loss[first]}) or its gradient (norm {metrics.gradient_norm[first]}) in step "
            f"{step + first + 1}",
            checkpoints,
        )


def interrupted(stop: StopSignal, step: int, config: TrainConfig, saved: Path | None) -> TrainingInterrupted:
    """The error that a stopped run ends with; `saved` is what it can be resumed from."""
    received = stop.received or signal.SIGINT
    return TrainingInterrupted(
        f"stopped by {received.name} after step {step} of {config.steps} of the {config.scorer.kind} scorer; saved as "
        f"{saved}. Go on with resume=True, or `--resume`.",
        received,
    )


def _not_finite(what: str, checkpoints: RunCheckpoints) -> TrainingError:
    checkpoints.wait()
    return TrainingError(
        f"the {what} is not finite. Last good checkpoint: {checkpoints.newest_path or 'none'}. "
        "Start another run with a smaller 'optimizer.learning_rate' or 'optimizer.clip_norm'."
    )
