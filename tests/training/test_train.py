"""`train`: which runs a config asks for, on which users, and in which order."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_run import tiny_config
from written_task import Crash, WrittenTask

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import DataConfig, PopulationConfig, TrainConfig
from fspo_jax.errors import CheckpointError, ConfigError, TrainingInterrupted
from fspo_jax.training.fit import Progress
from fspo_jax.training.run.lock import LOCK
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.training.train import train
from fspo_jax.types import Preference, User


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

    def make_featurizer(*_: object, **__: object) -> object:
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
    assert metadata.featurizer_fingerprint == "lengths"
    _, baseline = read_reward(tmp_path / "run" / "population")
    assert baseline.config.scorer == PopulationConfig(kind="population")
    assert train(config, tmp_path / "run", resume=True) == reward
    assert fake_text == ["train", "validation"]  # a finished run needs no data


def test_finish_ends_a_run_and_leaves_out_the_baselines_that_have_not_begun(
    tmp_path: Path, fake_text: list[str]
) -> None:
    def crash(progress: Progress) -> None:
        if (progress.scorer, progress.step) == (scorer, 15):
            raise Crash

    config, run = tiny_config(steps=20), tmp_path / "run"
    with pytest.raises(CheckpointError, match="no run to resume or to finish"):
        train(config, run, finish=True)
    for scorer in ("preferential_gp", "population"):
        with pytest.raises(Crash):
            train(config, run, resume=scorer == "population", on_progress=crash)
    with pytest.raises(CheckpointError, match="different config"):
        train(dataclasses.replace(config, seed=5), run, finish=True)
    assert train(config, run, finish=True) == run / "reward"
    assert read_reward(run / "population")
    alone = tmp_path / "alone"
    scorer = "preferential_gp"
    with pytest.raises(Crash):
        train(config, alone, on_progress=crash)
    train(config, alone, finish=True)
    assert read_reward(alone) and not (alone / "population").exists()


def test_finish_leaves_out_a_baseline_that_has_not_been_evaluated_and_says_what_it_keeps(
    tmp_path: Path, fake_text: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    def stop(progress: Progress) -> None:
        if (progress.scorer, progress.step) == ("population", 2):
            signal.raise_signal(signal.SIGINT)

    caplog.set_level("INFO", "fspo_jax")
    config, run = tiny_config(steps=20, steps_per_dispatch=2, evaluate_every=10), tmp_path / "run"
    with pytest.raises(TrainingInterrupted, match="after step 4 of 20 of the population scorer"):
        train(config, run, on_progress=stop)
    reward = (run / "reward" / "config.json").read_bytes()
    caplog.clear()
    assert train(config, run, finish=True) == run / "reward"
    assert (run / "reward" / "config.json").read_bytes() == reward
    assert not (run / "population" / "reward").exists()
    assert "population: left out, because it has not been evaluated yet" in caplog.text
    shutil.rmtree(run / "checkpoints")  # nobody needs them once there is a reward
    assert train(config, run, finish=True) == run / "reward"
    assert train(config, run, resume=True) and read_reward(run / "population")


def test_train_from_a_start_begins_with_its_parameters(
    tmp_path: Path, fake_text: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(steps=10, evaluate_every=10, population_baseline=False)
    first, _ = read_reward(train(config, tmp_path / "first"))
    begun = []
    whole = HeadTask.validate
    monkeypatch.setattr(
        HeadTask, "validate", lambda task, params: begun.append(jax.device_get(params)) or whole(task, params)
    )
    train(dataclasses.replace(config, start=str(tmp_path / "first"), seed=4), tmp_path / "second")
    jax.tree.map(np.testing.assert_array_equal, begun[0], first)
    assert not np.array_equal(jax.tree.leaves(begun[1])[0], jax.tree.leaves(first)[0])


def test_train_from_a_start_of_another_kind_raises(
    tmp_path: Path, fake_text: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(steps=10, population_baseline=False)
    train(config, tmp_path / "first")
    config = dataclasses.replace(config, start=str(tmp_path / "first"))
    other = dataclasses.replace(config, scorer=dataclasses.replace(config.scorer, width=5))
    with pytest.raises(ConfigError, match=r"'start': the scorer of .* Make them equal"):
        train(other, tmp_path / "scorer")
    with pytest.raises(CheckpointError):
        train(dataclasses.replace(config, start=str(tmp_path / "none")), tmp_path / "none")

    class Other:
        blocks, dimension, fingerprint = {"other": 2}, 2, "other"

        def __call__(self, prompts: list, responses: list[str]) -> np.ndarray:
            return np.ones((len(responses), 2), np.float32)

    monkeypatch.setattr("fspo_jax.training.train.make_featurizer", lambda *_, **__: Other())
    with pytest.raises(ConfigError, match=r"'start': .* reads other features"):
        train(config, tmp_path / "features")
    assert not list(tmp_path.glob("features/*")) and not list(tmp_path.glob("scorer/*"))


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch, fake_text: list[str]) -> list[TrainConfig]:
    """Tasks that compute nothing instead of heads; gives the configs they were made with."""
    made: list[TrainConfig] = []

    def make_task(config: TrainConfig, *parts: object, featurizer: object, start: object) -> WrittenTask:
        made.append(config)
        return WrittenTask(config)

    monkeypatch.setattr("fspo_jax.training.train.HeadTask", make_task)
    return made


def test_train_on_few_users_says_that_they_are_few(
    tmp_path: Path, configs: list[TrainConfig], caplog: pytest.LogCaptureFixture
):
    train(tiny_config(steps=20, population_baseline=False), tmp_path / "run")
    (warning,) = [record.message for record in caplog.records if record.name == "fspo_jax.training.train"]
    assert warning.startswith("only 4 people to train on") and "at least 20 people" in warning


def test_train_with_the_mismatched_baseline_trains_it_on_contexts_of_others(
    tmp_path: Path, configs: list[TrainConfig]
):
    config = tiny_config(steps=20, mismatched_baseline=True)
    seen = []
    train(config, tmp_path / "run", on_progress=lambda p: seen.append(p.run.name))
    assert seen == ["run"] * 4 + ["population"] * 4 + ["mismatched"] * 4
    assert sorted(path.parent.parent.name for path in tmp_path.rglob("reward/config.json")) == sorted(
        ["run", "population", "mismatched"]
    )
    assert configs[0] == config and configs[1].episodes == config.episodes
    assert configs[2].episodes == dataclasses.replace(config.episodes, mismatched=True)
    assert configs[2].scorer == config.scorer != configs[1].scorer
    assert not any(its.mismatched_baseline or its.population_baseline for its in configs[1:])


def test_train_interrupted_in_the_population_baseline_resumes_there(
    tmp_path: Path, configs: list[TrainConfig]
):
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
    tmp_path: Path, configs: list[TrainConfig]
):
    def on_progress(progress: Progress) -> None:
        if progress.scorer == "population":
            raise Crash

    with pytest.raises(Crash):
        train(tiny_config(steps=20), tmp_path / "run", on_progress=on_progress)
    shutil.rmtree(tmp_path / "run" / "population")
    (tmp_path / "run" / "population").mkdir()
    (tmp_path / "run" / "population" / ".config.json.123").touch()  # as a kill in mid-write leaves it
    train(tiny_config(steps=20), tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "population" / "reward").is_dir()


def test_train_where_another_process_trains_names_it_and_changes_nothing(
    tmp_path: Path, configs: list[TrainConfig]
):
    def files() -> list[Path]:  # checkpoints are written in the background
        return sorted(path for path in tmp_path.rglob("*") if "checkpoints" not in path.parts)

    holder = rf"is in use by process {os.getpid()} on host {socket.gethostname()}\. Wait until it ends"

    def on_progress(progress: Progress) -> None:
        before = files()
        for resume in (False, True):
            with pytest.raises(CheckpointError, match=holder):
                train(tiny_config(steps=20), tmp_path / "run", resume=resume)
        assert files() == before

    train(tiny_config(steps=20), tmp_path / "run", on_progress=on_progress)
    assert not (tmp_path / "run" / LOCK).exists()


def test_train_after_a_holder_that_was_killed_goes_on(tmp_path: Path, configs: list[TrainConfig]):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text(
        '{"host": "elsewhere", "process": 7}'
    )  # a lock ends with its process
    assert train(tiny_config(steps=20), tmp_path / "run").is_dir()


def test_train_interrupted_in_the_last_dispatch_of_the_first_scorer_does_not_start_the_second(
    tmp_path: Path, configs: list[TrainConfig]
):
    def on_progress(progress: Progress) -> None:
        if progress.step == 20:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(TrainingInterrupted, match="preferential_gp"):
        train(tiny_config(steps=20), tmp_path / "run", on_progress=on_progress)
    assert not (tmp_path / "run" / "population").exists()
    assert train(tiny_config(steps=20), tmp_path / "run", resume=True).is_dir()
    assert (tmp_path / "run" / "population" / "reward").is_dir()
