"""Whole runs of scorers of features on a tiny world, in this process."""

from __future__ import annotations

import dataclasses
import math
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_run import FEATURES, run_tiny, tiny_config, tiny_world
from written_task import Crash, crash_after, losses, rows, run_written

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import OptimizerConfig, PopulationConfig
from fspo_jax.errors import DataError, TrainingInterrupted
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.fit import Progress, fit
from fspo_jax.training.tasks.head import HeadTask


def test_meta_train_on_linear_tastes_learns_and_exports_the_best_on_validation(tmp_path: Path):
    config = tiny_config(
        steps=200,
        steps_per_dispatch=20,
        evaluate_every=20,
        optimizer=OptimizerConfig(learning_rate=3e-2, warmup_steps=10),
    )
    scorer = make_scorer(config.scorer, {"features": FEATURES})
    reward = fit(
        HeadTask(config, scorer, *tiny_world(1, users=80), *tiny_world(2, users=80)), tmp_path / "run"
    )
    validations = [row["validation"] for row in rows(tmp_path / "run")]
    best = min(validations, key=lambda metrics: metrics["log_loss"])
    params, metadata = read_reward(reward)
    assert metadata.validation == best
    assert metadata.config == config
    assert best["log_loss"] < math.log(2) - 0.1
    assert best["accuracy@4"] > best["accuracy@0"] > 0.6
    assert jax.tree.structure(params) == jax.tree.structure(
        make_scorer(config.scorer, {"features": FEATURES}).init(jax.random.key(0))
    )


def test_meta_train_reports_every_dispatch_to_metrics_and_progress(
    undisturbed: Path, undisturbed_progress: list[Progress]
):
    seen = undisturbed_progress
    assert [(p.step, p.steps, p.scorer) for p in seen] == [
        (s, 40, "preferential_gp") for s in range(5, 41, 5)
    ]
    assert [p.step for p in seen if p.validation] == [10, 20, 30, 40]
    assert [(p.step, p.loss) for p in seen] == losses(undisturbed)
    assert all(row["steps_per_second"] > 0 and row["gradient_norm"] > 0 for row in rows(undisturbed))
    assert list((undisturbed / "tensorboard").glob("events.out.tfevents.*"))


def test_meta_train_after_a_crash_and_a_signal_resumes_bit_for_bit(tmp_path: Path, undisturbed: Path):
    run = tmp_path / "run"
    with pytest.raises(Crash):
        run_tiny(run, on_progress=crash_after(15))
    steps: list[int] = []

    def on_progress(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 20:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="after step 25 of 40"):
        run_tiny(run, resume=True, on_progress=on_progress)
    run_tiny(run, resume=True, on_progress=on_progress)
    assert steps == [15, 20, 25, 30, 35, 40]  # from the checkpoints of an evaluation and of the signal
    assert losses(run) == losses(undisturbed)
    model = "reward/model.safetensors"
    assert (run / model).read_bytes() == (undisturbed / model).read_bytes()


def test_meta_train_over_many_dispatches_traces_the_scorer_no_more_after_the_first(tmp_path: Path):
    config = tiny_config(scorer=PopulationConfig(kind="population", hidden=4))
    scorer = make_scorer(config.scorer, {"features": FEATURES})
    traces = []
    counting = scorer._replace(represent=lambda *given: traces.append(1) or scorer.represent(*given))
    seen = []
    task = HeadTask(config, counting, *tiny_world(1), *tiny_world(2))
    fit(task, tmp_path / "run", on_progress=lambda p: seen.append(len(traces)))
    after_first_evaluation = seen[1]
    assert after_first_evaluation > 0
    assert seen[-1] == after_first_evaluation


def test_meta_train_with_ipo_and_no_context_at_all_works(tmp_path: Path):
    config = tiny_config(
        objective="ipo",
        episodes=dataclasses.replace(tiny_config().episodes, max_context=0, flip_probability=0.0),
        scorer=PopulationConfig(kind="population", hidden=4),
    )
    run_tiny(tmp_path / "run", config)
    metrics = rows(tmp_path / "run")
    assert metrics[0]["loss"] > metrics[-1]["loss"]
    assert sorted(metrics[-1]["validation"]) == ["accuracy", "accuracy@0", "log_loss", "log_loss@0"]


def test_meta_train_where_a_run_failed_before_its_first_step_starts_anew(tmp_path: Path):
    table, features = tiny_world(2)
    one_text = table._replace(texts=np.zeros_like(table.texts))
    config = tiny_config()
    with pytest.raises(DataError, match="none of the 12 meta-validation users has enough pairs for a query"):
        scorer = make_scorer(config.scorer, {"features": FEATURES})
        fit(HeadTask(config, scorer, *tiny_world(1), one_text, features), tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()
    run_written(tmp_path / "run", seed=9, steps=10)
    assert (tmp_path / "run" / "reward").is_dir()
