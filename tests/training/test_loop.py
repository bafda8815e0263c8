"""Whole runs of a tiny world, in this process."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
import signal
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_run import FEATURES, run_tiny, tiny_config, tiny_world

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import DataConfig, OptimizerConfig, PersonaSource, PopulationConfig
from fspo_jax.errors import CheckpointError, ConfigError, DataError, TrainingError, TrainingInterrupted
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.fit import Progress, fit
from fspo_jax.training.run.log import MetricsLog
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.training.train import train
from fspo_jax.types import Preference, User


class Stop(Exception):
    """Stands for a crash."""


def crash_after(step: int):
    def on_progress(progress: Progress) -> None:
        if progress.step == step:
            raise Stop

    return on_progress


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_reward(a: Path, b: Path) -> bool:
    return (a / "reward/model.safetensors").read_bytes() == (b / "reward/model.safetensors").read_bytes()


def losses(run: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in rows(run)]


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


def test_meta_train_reports_every_dispatch_to_metrics_and_progress(tmp_path: Path, undisturbed: Path):
    seen: list[Progress] = []
    run_tiny(tmp_path / "run", on_progress=seen.append)
    assert [(p.step, p.steps, p.scorer) for p in seen] == [
        (s, 40, "preferential_gp") for s in range(5, 41, 5)
    ]
    assert [p.step for p in seen if p.validation] == [10, 20, 30, 40]
    assert [(p.step, p.loss) for p in seen] == losses(tmp_path / "run") == losses(undisturbed)
    assert all(row["steps_per_second"] > 0 and row["gradient_norm"] > 0 for row in rows(tmp_path / "run"))
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    assert same_reward(tmp_path / "run", undisturbed)


def test_meta_train_without_tensorboardx_warns_once_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with caplog.at_level(logging.WARNING, "fspo_jax"):
        run_tiny(tmp_path / "run", tiny_config(steps=10))
    assert [record.message for record in caplog.records if record.name == "fspo_jax"] == [
        "tensorboardX is not installed: metrics go to metrics.jsonl only."
    ]
    assert len(rows(tmp_path / "run")) == 2


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


def test_meta_train_after_a_crash_resumes_bit_for_bit(tmp_path: Path, undisturbed: Path):
    run = tmp_path / "run"
    with pytest.raises(Stop):
        run_tiny(run, on_progress=crash_after(25))
    assert losses(run)[-1][0] == 25
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 30, "lo')  # a line cut by the crash
    steps: list[int] = []
    run_tiny(run, resume=True, on_progress=lambda p: steps.append(p.step))
    assert steps == [25, 30, 35, 40]  # from the checkpoint of step 20
    assert losses(run) == losses(undisturbed)
    assert same_reward(run, undisturbed)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_meta_train_on_a_signal_saves_between_evaluations_and_resumes_bit_for_bit(
    tmp_path: Path, undisturbed: Path, name: str
):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    run = tmp_path / "run"

    def on_progress(progress: Progress) -> None:
        if progress.step == 10:
            signal.raise_signal(number)

    message = rf"stopped by {name} after step 15 of 40 .* saved as .*checkpoints/15. Go on with resume=True"
    with pytest.raises(TrainingInterrupted, match=message) as raised:
        run_tiny(run, on_progress=on_progress)
    assert raised.value.signal == number
    assert signal.getsignal(number) is before
    with pytest.raises(CheckpointError, match=r"a training run that has not finished.*Resume it"):
        read_reward(run)
    steps: list[int] = []
    run_tiny(run, resume=True, on_progress=lambda p: steps.append(p.step))
    assert steps == [20, 25, 30, 35, 40]
    assert losses(run) == losses(undisturbed)
    assert same_reward(run, undisturbed)


def test_meta_train_on_a_second_ctrl_c_stops_at_once(tmp_path: Path):
    def on_progress(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # Python's own handler; it is not there in a process that was started in the background by a script.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_tiny(tmp_path / "run", on_progress=on_progress)
    finally:
        signal.signal(signal.SIGINT, before)


def test_meta_train_in_another_thread_works(tmp_path: Path):
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run_tiny(tmp_path / "run", tiny_config(steps=10)))
    )
    thread.start()
    thread.join()
    assert results == [tmp_path / "run" / "reward"]


def test_meta_train_with_loss_not_finite_names_step_and_last_good_checkpoint(tmp_path: Path):
    config = tiny_config()
    scorer = make_scorer(config.scorer, {"features": FEATURES})
    table, features = tiny_world(1)
    with pytest.raises(Stop):
        run_tiny(tmp_path / "run", on_progress=crash_after(20))
    broken = features * np.float32(np.inf)
    with pytest.raises(
        TrainingError, match=r"step 21 is not finite. Last good checkpoint: .*checkpoints/20\."
    ):
        fit(HeadTask(config, scorer, table, broken, *tiny_world(2)), tmp_path / "run", resume=True)
    assert [step for step, _ in losses(tmp_path / "run")] == [5, 10, 15, 20]
    with pytest.raises(TrainingError, match=r"step 1 is not finite. Last good checkpoint: none\."):
        fit(HeadTask(config, scorer, table, broken, *tiny_world(2)), tmp_path / "other")


def test_metrics_log_on_a_full_disk_is_checkpoint_error(tmp_path: Path, small_disk):
    cannot = pytest.raises(CheckpointError, match=r"metrics.jsonl: cannot be written: .*Free some disk space")
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, {"loss": 0.5})
        with small_disk(100), cannot:
            log.write(2, {"loss": 0.5, "other": 1.0})


def test_meta_train_into_a_directory_that_is_not_empty_is_checkpoint_error(tmp_path: Path, undisturbed: Path):
    with pytest.raises(CheckpointError, match=r"already exists and is not empty\. Resume the run"):
        run_tiny(undisturbed)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="already exists and is not empty"):
        run_tiny(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(CheckpointError, match="already exists"):
        run_tiny(tmp_path / "notes.txt")


def test_meta_train_where_a_run_failed_before_its_first_step_starts_anew(tmp_path: Path):
    table, features = tiny_world(2)
    one_text = table._replace(texts=np.zeros_like(table.texts))
    config = tiny_config()
    with pytest.raises(DataError, match="none of the 12 meta-validation users has enough pairs for a query"):
        scorer = make_scorer(config.scorer, {"features": FEATURES})
        fit(HeadTask(config, scorer, *tiny_world(1), one_text, features), tmp_path / "run")
    assert (tmp_path / "run" / "config.json").exists()
    assert run_tiny(tmp_path / "run", tiny_config(seed=9, steps=10)).is_dir()


def test_meta_train_resuming_where_there_is_no_run_is_checkpoint_error(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no run to resume: it has no config.json"):
        run_tiny(tmp_path / "typo", resume=True)
    assert not (tmp_path / "typo").exists()


def test_meta_train_resuming_with_another_config_names_the_keys(undisturbed: Path):
    other = tiny_config(seed=4, data=DataConfig(sources=(PersonaSource(seed=0, personas=9, prompts=8),)))
    message = r"Different: seed \(was 3, now 4\), data.sources.0.personas \(was 8, now 9\)\."
    with pytest.raises(CheckpointError, match=message):
        run_tiny(undisturbed, other, resume=True)


def test_meta_train_resuming_with_other_data_is_checkpoint_error(tmp_path: Path):
    config = tiny_config()
    with pytest.raises(Stop):
        run_tiny(tmp_path / "run", on_progress=crash_after(10))
    scorer = make_scorer(config.scorer, {"features": FEATURES})
    with pytest.raises(CheckpointError, match=r"data have changed .*train_users 12 \(now 13\)"):
        fit(HeadTask(config, scorer, *tiny_world(1, users=13), *tiny_world(2)), tmp_path / "run", resume=True)


def test_meta_train_resuming_a_finished_run_changes_nothing(undisturbed: Path):
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*")}

    before = state()
    assert run_tiny(undisturbed, resume=True, on_progress=crash_after(5)) == undisturbed / "reward"
    assert state() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 42}, r"'steps' \(42\) must be a multiple of 'steps_per_dispatch' \(5\)"),
        ({"optimizer": OptimizerConfig(1e-2)}, r"'optimizer.warmup_steps' \(50\) must be less"),
    ],
)
def test_meta_train_with_a_config_that_cannot_work_is_config_error_and_makes_no_directory(
    tmp_path: Path, changes: dict, message: str
):
    with pytest.raises(ConfigError, match=message):
        run_tiny(tmp_path / "run", tiny_config(**changes))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def fake_text(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Users and features without files or weights; gives the list of splits that were loaded."""
    loaded: list[str] = []

    def load_splits(
        config: DataConfig, splits: tuple[str, ...], *, rejects_directory: Path | None = None
    ) -> dict[str, list[User]]:
        loaded.extend(splits)
        return {
            split: [
                User(f"{split}{u}", tuple(Preference(f"p{i}", f"{split}{u}{i}", f"{i}") for i in range(6)))
                for u in range(4)
            ]
            for split in splits
        }

    def make_featurizer(*_: object) -> object:
        class Lengths:
            blocks, dimension, fingerprint = {"lengths": 2}, 2, "lengths"

            def __call__(self, prompts: list, responses: list[str]) -> np.ndarray:
                return np.array([[len(r), len(r) ** 2] for r in responses], np.float32) / 10

        return Lengths()

    monkeypatch.setattr("fspo_jax.data.build.load_splits", load_splits)
    monkeypatch.setattr("fspo_jax.training.train.make_featurizer", make_featurizer)
    return loaded


def test_train_loads_no_test_users_and_trains_the_population_baseline_too(
    tmp_path: Path, fake_text: list[str]
):
    seen = []
    config = tiny_config(steps=20)
    reward = train(config, tmp_path / "run", on_progress=lambda p: seen.append((p.scorer, p.step)))
    assert fake_text == ["train", "validation"]
    assert seen == [(name, s) for name in ("preferential_gp", "population") for s in (5, 10, 15, 20)]
    assert reward == tmp_path / "run" / "reward"
    _, metadata = read_reward(tmp_path / "run")
    assert (metadata.feature_blocks, metadata.featurizer_fingerprint) == ({"lengths": 2}, "lengths")
    _, baseline = read_reward(tmp_path / "run" / "population")
    assert baseline.config.scorer == PopulationConfig(kind="population")
    assert train(config, tmp_path / "run", resume=True) == reward
    assert fake_text == ["train", "validation"]  # a finished run needs no data


def test_train_on_few_users_says_that_they_are_few(
    tmp_path: Path, fake_text: list[str], caplog: pytest.LogCaptureFixture
):
    train(tiny_config(steps=20, population_baseline=False), tmp_path / "run")
    (warning,) = [record.message for record in caplog.records if record.name == "fspo_jax.training.train"]
    assert warning.startswith("only 4 people to train on") and "at least 20 people" in warning


def test_train_with_the_mismatched_baseline_trains_it_on_contexts_of_others(
    tmp_path: Path, fake_text: list[str]
):
    config = tiny_config(steps=20, mismatched_baseline=True)
    seen = []
    train(config, tmp_path / "run", on_progress=lambda p: seen.append(p.run.name))
    assert seen == ["run"] * 4 + ["population"] * 4 + ["mismatched"] * 4
    assert sorted(path.parent.parent.name for path in tmp_path.rglob("reward/config.json")) == sorted(
        ["run", "population", "mismatched"]
    )
    _, metadata = read_reward(tmp_path / "run" / "mismatched")
    assert metadata.config.episodes == dataclasses.replace(config.episodes, mismatched=True)
    assert not (metadata.config.mismatched_baseline or metadata.config.population_baseline)
    assert not same_reward(tmp_path / "run", tmp_path / "run" / "mismatched")


def test_train_interrupted_in_the_population_baseline_resumes_there(tmp_path: Path, fake_text: list[str]):
    config = tiny_config(steps=20)

    def on_progress(progress: Progress) -> None:
        if progress.scorer == "population" and progress.step == 5:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="after step 10 of 20 of the population scorer"):
        train(config, tmp_path / "run", on_progress=on_progress)
    seen = []
    train(config, tmp_path / "run", resume=True, on_progress=lambda p: seen.append((p.scorer, p.step)))
    assert seen == [("population", 15), ("population", 20)]


def test_train_killed_before_the_population_baseline_had_its_config_resumes(
    tmp_path: Path, fake_text: list[str]
):
    def on_progress(progress: Progress) -> None:
        if progress.scorer == "population":
            raise Stop

    with pytest.raises(Stop):
        train(tiny_config(steps=20), tmp_path / "run", on_progress=on_progress)
    shutil.rmtree(tmp_path / "run" / "population")
    (tmp_path / "run" / "population").mkdir()
    (tmp_path / "run" / "population" / ".config.json.123").touch()  # as a kill in mid-write leaves it
    train(tiny_config(steps=20), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "population" / "reward").is_dir()


def test_train_interrupted_in_the_last_dispatch_of_the_first_scorer_does_not_start_the_second(
    tmp_path: Path, fake_text: list[str]
):
    def on_progress(progress: Progress) -> None:
        if progress.step == 20:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="preferential_gp"):
        train(tiny_config(steps=20), tmp_path / "run", on_progress=on_progress)
    assert not (tmp_path / "run" / "population").exists()
    assert train(tiny_config(steps=20), tmp_path / "run", resume=True).is_dir()
    assert (tmp_path / "run" / "population" / "reward").is_dir()
