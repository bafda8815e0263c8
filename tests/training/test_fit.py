"""The trainer itself, on a task that computes nothing: stopping, resuming, choosing, refusing."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_config
from written_task import LOSSES, Crash, WrittenTask, crash_after, exported, losses, rows, run_written

from fspo_jax.checkpoints import read_reward
from fspo_jax.cli.training import _show
from fspo_jax.config import DataConfig, OptimizerConfig, PersonaSource, SetTransformerConfig
from fspo_jax.errors import CheckpointError, ConfigError, TrainingError, TrainingInterrupted
from fspo_jax.training.fit import Progress, fit
from fspo_jax.training.run.directory import CONFIG
from fspo_jax.training.run.log import MetricsLog


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end. Read only."""
    run = tmp_path_factory.mktemp("whole") / "run"
    run_written(run)
    return run


def test_fit_after_a_crash_goes_on_from_the_last_checkpoint(tmp_path: Path, whole: Path):
    run = tmp_path / "run"
    with pytest.raises(Crash):
        run_written(run, crash=25)
    assert losses(run)[-1][0] == 25
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 30, "lo')  # a line cut by the crash
    assert [p.step for p in run_written(run, resume=True)] == [
        25,
        30,
        35,
        40,
    ]  # from the checkpoint of step 20
    assert losses(run) == losses(whole) and exported(run) == exported(whole)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_fit_on_a_signal_saves_between_evaluations_and_can_be_resumed(tmp_path: Path, whole: Path, name: str):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    run = tmp_path / "run"

    def on_progress(progress: Progress) -> None:
        if progress.step == 10:
            signal.raise_signal(number)

    message = rf"stopped by {name} after step 15 of 40 .* saved as .*checkpoints/15. Go on with resume=True"
    with pytest.raises(TrainingInterrupted, match=message) as raised:
        fit(WrittenTask(tiny_config()), run, on_progress=on_progress)
    assert raised.value.signal == number
    assert signal.getsignal(number) is before
    with pytest.raises(CheckpointError, match=r"a training run that has not finished.*Resume it"):
        read_reward(run)
    assert [p.step for p in run_written(run, resume=True)] == [20, 25, 30, 35, 40]
    assert losses(run) == losses(whole) and exported(run) == exported(whole)


def test_a_run_that_is_finished_early_exports_its_best_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "fspo_jax")
    run, task = tmp_path / "run", WrittenTask(tiny_config())
    with pytest.raises(Crash):
        run_written(run, crash=35)
    seen: list[Progress] = []
    assert fit(task, run, resume=True, finish=True, on_progress=seen.append) == run / "reward"
    assert not seen and exported(run)["steps"] == 20  # the losses are .9, .5, .7
    assert "preferential gp: ends as it is, with its best checkpoint, that of step 20 of 40" in caplog.text
    assert run_written(run, resume=True) == []
    early = tmp_path / "early"
    with pytest.raises(Crash):
        run_written(early, crash=5)
    with pytest.raises(CheckpointError, match=r"no evaluation yet.*Go on with resume=True"):
        fit(task, early, resume=True, finish=True)
    assert [p.step for p in run_written(early, resume=True)][-1] == 40


def test_fit_on_a_second_ctrl_c_stops_at_once(tmp_path: Path):
    def on_progress(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # Python's own handler; it is not there in a process that was started in the background by a script.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(WrittenTask(tiny_config()), tmp_path / "run", on_progress=on_progress)
    finally:
        signal.signal(signal.SIGINT, before)


def test_fit_in_another_thread_without_tensorboardx_warns_once_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(fit(WrittenTask(tiny_config(steps=10)), tmp_path / "run"))
    )
    with caplog.at_level(logging.WARNING, "fspo_jax"):
        thread.start()
        thread.join()
    assert results == [tmp_path / "run" / "reward"]
    assert [record.message for record in caplog.records if record.name == "fspo_jax"] == [
        "tensorboardX is not installed: metrics go to metrics.jsonl only."
    ]
    assert len(rows(tmp_path / "run")) == 2


def test_fit_with_loss_not_finite_names_step_and_last_good_checkpoint(tmp_path: Path):
    with pytest.raises(Crash):
        run_written(tmp_path / "run", crash=20)
    broken = WrittenTask(tiny_config(), broken=True)
    with pytest.raises(
        TrainingError, match=r"step 21 is not finite. Last good checkpoint: .*checkpoints/20\."
    ):
        fit(broken, tmp_path / "run", resume=True)
    assert [step for step, _ in losses(tmp_path / "run")] == [5, 10, 15, 20]
    with pytest.raises(TrainingError, match=r"step 1 is not finite. Last good checkpoint: none\."):
        fit(broken, tmp_path / "other")
    with pytest.raises(TrainingError, match=r"validation loss after step 20 is not finite.*checkpoints/10\."):
        fit(WrittenTask(tiny_config(), (0.5, float("nan"))), tmp_path / "third")


def test_metrics_log_on_a_full_disk_is_checkpoint_error(tmp_path: Path, small_disk):
    cannot = pytest.raises(CheckpointError, match=r"metrics.jsonl: cannot be written: .*Free some disk space")
    with MetricsLog(tmp_path, 0) as log:
        log.write(1, {"loss": 0.5})
        with small_disk(100), cannot:
            log.write(2, {"loss": 0.5, "other": 1.0})


@pytest.mark.parametrize(
    ("early_stopping", "last", "best"), [(0, 60, 50), (1, 30, 20), (2, 40, 20), (3, 60, 50), (9, 60, 50)]
)
def test_fit_stops_after_so_many_evaluations_without_improvement(
    tmp_path: Path, early_stopping: int, last: int, best: int
):
    seen = run_written(tmp_path / "run", steps=60, early_stopping=early_stopping)
    assert [progress.step for progress in seen] == list(range(5, last + 1, 5))
    found = exported(tmp_path / "run")
    assert found["steps"] == best and found["log_loss"] == min(LOSSES[: last // 10])


@pytest.mark.parametrize("crash", [15, 20, 25, 30, 35, 40])
def test_fit_stopped_early_after_a_crash_ends_as_if_undisturbed(tmp_path: Path, crash: int):
    with pytest.raises(Crash):
        run_written(tmp_path / "run", crash=crash, steps=60, early_stopping=2)
    seen = run_written(tmp_path / "run", resume=True, steps=60, early_stopping=2)
    # From the last evaluation; no step at all where that was the last.
    assert [progress.step for progress in seen] == list(range(crash // 10 * 10 + 5, 41, 5))
    assert exported(tmp_path / "run")["steps"] == 20


def test_fit_with_equal_losses_counts_no_improvement(tmp_path: Path):
    seen: list[Progress] = []
    task = WrittenTask(tiny_config(steps=60, early_stopping=3), (0.5,) * 6)
    fit(task, tmp_path / "run", on_progress=seen.append)
    assert seen[-1].step == 40 and seen[-1].ended and seen[-1].best_step == 10
    assert [progress.ended for progress in seen[:-1]] == [False] * (len(seen) - 1)
    assert [progress.best_step for progress in seen[:2]] == [None, 10]


def test_progress_in_the_terminal_has_log_loss_and_accuracy_at_the_fewest_and_the_most_shots():
    shown: list[tuple] = []

    class Bars:
        def show(self, *arguments: object) -> None:
            shown.append(arguments)

        def say(self, line: str) -> None:
            shown.append((line,))

    means = (("log_loss", 0.25), ("accuracy", 0.75))
    found = {f"{name}@{k}": value for name, value in means for k in (0, 2, 16)}
    progress = Progress(
        run=Path("run"),
        scorer="preferential_gp",
        step=50,
        steps=600,
        loss=0.5,
        validation={**found, "log_loss@0": 0.693, "log_loss": 0.4},
        best_step=50,
        ended=False,
    )
    _show(Bars(), "run/", progress)  # type: ignore[arg-type]
    last = progress._replace(run=Path("run/population"), step=100, validation=None, ended=True)
    _show(Bars(), "run/", last)  # type: ignore[arg-type]
    assert shown == [
        ("preferential_gp", 50, 600, "training loss 0.500"),
        (
            "step 50, people not trained on: log loss 0.693, accuracy 75% with 0 pairs; "
            "log loss 0.250, accuracy 75% with 16 pairs",
        ),
        ("population", 100, 100, "training loss 0.500"),
        ("stopped early at step 100 of 600; the best was step 50",),
    ]


def test_fit_into_a_directory_that_is_not_empty_is_checkpoint_error(tmp_path: Path, whole: Path):
    with pytest.raises(CheckpointError, match=r"already exists and is not empty\. Resume the run"):
        run_written(whole)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="already exists and is not empty"):
        run_written(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(CheckpointError, match="already exists"):
        run_written(tmp_path / "notes.txt")


def test_fit_resuming_where_there_is_no_run_is_checkpoint_error(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"no run to resume or to finish: it has no config.json"):
        run_written(tmp_path / "typo", resume=True)
    assert not (tmp_path / "typo").exists()


def test_fit_resuming_with_another_config_names_the_keys(whole: Path):
    data = DataConfig(sources=(PersonaSource(seed=0, personas=9, prompts=8),))
    message = r"Different: seed \(was 3, now 4\), data.sources.0.personas \(was 8, now 9\)\.$"
    with pytest.raises(CheckpointError, match=message):
        run_written(whole, resume=True, seed=4, data=data)


def test_fit_resuming_with_more_steps_says_how_to_train_longer(whole: Path):
    with pytest.raises(
        CheckpointError, match=r"steps \(was 40, now 80\)\. To train longer, start another run"
    ):
        run_written(whole, resume=True, steps=80)


@pytest.mark.parametrize(
    "content", ["{}", '{"seed": 3, "steps": 40}', '{"format_version": 1, "config": {}}', "[]"]
)
def test_fit_resuming_a_run_of_an_older_version_says_what_to_do(tmp_path: Path, content: str):
    (tmp_path / CONFIG).write_text(content)
    message = (
        r"made by an older version of fspo_jax .* Train again in another directory, or use version 0\.1\.0"
    )
    with pytest.raises(CheckpointError, match=message):
        run_written(tmp_path, resume=True)


def test_fit_resuming_with_other_data_is_checkpoint_error(tmp_path: Path):
    with pytest.raises(Crash):
        run_written(tmp_path / "run", crash=10)
    with pytest.raises(CheckpointError, match=r"data have changed .*train_users 12 \(now 13\)"):
        fit(WrittenTask(tiny_config(), users=13), tmp_path / "run", resume=True)


def test_fit_resuming_with_a_data_file_cut_short_says_that_it_is_damaged(tmp_path: Path):
    with pytest.raises(Crash):
        run_written(tmp_path / "run", crash=10)
    data = tmp_path / "run" / "data.json"
    data.write_bytes(data.read_bytes()[:20])
    with pytest.raises(CheckpointError, match=r"data.json: damaged .*Remove the file to go on"):
        run_written(tmp_path / "run", resume=True)
    data.unlink()
    assert run_written(tmp_path / "run", resume=True)


def test_fit_resuming_a_finished_run_changes_nothing(whole: Path):
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in whole.rglob("*")}

    before = state()
    task = WrittenTask(tiny_config())
    assert fit(task, whole, resume=True, on_progress=crash_after(5)) == whole / "reward"
    assert state() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 42}, r"'steps' \(42\) must be a multiple of 'steps_per_dispatch' \(5\)"),
        ({"optimizer": OptimizerConfig(1e-2)}, r"'optimizer.warmup_steps' \(50\) must be less"),
        # What was exported could not be read: a value out of its range, of another type, against another value.
        ({"optimizer": OptimizerConfig(-1.0, 0)}, r"'optimizer.learning_rate' must be a number above 0"),
        ({"seed": np.int64(3)}, r"'seed' must be a whole number, not "),
        (
            {"scorer": SetTransformerConfig("set_transformer", width=6, heads=4)},
            r"'scorer.width' \(6\) must be a multiple",
        ),
    ],
)
def test_fit_with_a_config_that_cannot_work_is_config_error_and_makes_no_directory(
    tmp_path: Path, changes: dict, message: str
):
    with pytest.raises(ConfigError, match=message):
        run_written(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("of_start", "kept"), [(0.3, 0), (0.6, 20)])
def test_start_is_evaluated_and_exported_if_nothing_later_is_better(
    tmp_path: Path, of_start: float, kept: int
) -> None:
    task = WrittenTask(
        tiny_config(start="fspo-mini"), (0.9, 0.5, 0.7, 0.8, of_start)
    )  # the last: before step 1
    fit(task, tmp_path / "run")
    assert exported(tmp_path / "run")["steps"] == kept


def test_run_from_a_start_that_is_stopped_early_counts_from_the_start(tmp_path: Path) -> None:
    task = WrittenTask(
        tiny_config(steps=60, early_stopping=2, start="fspo-mini"), (0.9, 0.9, 0.1, 0.1, 0.1, 0.5)
    )
    fit(task, tmp_path / "run")
    assert [row["step"] for row in rows(tmp_path / "run")][-1] == 20
