"""What is on disk after every kind of accident is either whole or found out."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from fspo_jax.errors import CheckpointError
from fspo_jax.training.run.checkpoints import CheckpointWarning, RunCheckpoints
from fspo_jax.training.state import TrainState

CONFIG = {"seed": 1, "data": {"sources": ["a"]}}


def state_of(step: int) -> TrainState:
    params = {"hidden": {"kernel": np.random.default_rng(step).normal(size=(64, 32)).astype(np.float32)}}
    return jax.tree.map(
        np.asarray, TrainState(params, optax.adamw(1e-3).init(params), np.full((), step, np.int32))
    )


def metrics_of(log_loss: float) -> dict[str, float]:
    return {"log_loss": log_loss, "accuracy": 0.5}


def write(directory: Path, losses: dict[int, float | None]) -> None:
    with RunCheckpoints(directory, CONFIG, state_of(0)) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(state_of(step), None if loss is None else metrics_of(loss))


def same(a: TrainState | None, b: TrainState) -> bool:
    return a is not None and jax.tree.all(jax.tree.map(np.array_equal, a, b))


def steps_in(directory: Path) -> list[int]:
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def test_save_of_many_steps_keeps_latest_two_and_best(tmp_path: Path):
    write(tmp_path / "c", {1: 0.9, 2: 0.4, 3: 0.6, 4: None, 5: 0.5, 6: 0.7})
    assert steps_in(tmp_path / "c") == [2, 5, 6]
    with RunCheckpoints(tmp_path / "c", CONFIG, state_of(0)) as checkpoints:
        assert same(checkpoints.newest, state_of(6))
        best, validation = checkpoints.best()
    assert same(best, state_of(2))
    assert validation == metrics_of(0.4)


def test_save_without_validation_is_resumed_from_but_is_never_the_best(tmp_path: Path):
    write(tmp_path / "c", {1: 0.9, 2: None})
    with RunCheckpoints(tmp_path / "c", CONFIG, state_of(0)) as checkpoints:
        assert same(checkpoints.newest, state_of(2))
        assert same(checkpoints.best()[0], state_of(1))


def test_save_then_donating_the_state_writes_the_values_of_before(tmp_path: Path):
    state = jax.tree.map(jax.numpy.asarray, state_of(1))
    bump = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    with RunCheckpoints(tmp_path / "c", CONFIG, state_of(0)) as checkpoints:
        checkpoints.save(state, None)
        bump(state)
    with RunCheckpoints(tmp_path / "c", CONFIG, state_of(0)) as checkpoints:
        assert same(checkpoints.newest, state_of(1))


@pytest.mark.parametrize("accident", ["lost", "cut", "altered"])
def test_open_with_any_file_of_the_last_checkpoint_damaged_never_gives_a_wrong_state(
    tmp_path: Path, accident: str
):
    whole = tmp_path / "whole"
    write(whole, {1: 0.9, 2: 0.8})
    files = [path.relative_to(whole) for path in (whole / "2").rglob("*") if path.is_file()]
    found = set()
    for i, file in enumerate(files):
        directory = tmp_path / str(i) / "checkpoints"
        shutil.copytree(whole, directory)
        data = bytearray((directory / file).read_bytes())
        if accident == "lost":
            (directory / file).unlink()
        else:
            data[len(data) // 2] ^= 0xFF
            (directory / file).write_bytes(data if accident == "altered" else data[: len(data) // 2])
        with warnings.catch_warnings(record=True, action="always") as warned:
            opened = RunCheckpoints(directory, CONFIG, state_of(0))
        with opened:
            if not warned:  # a file that Orbax writes but does not need
                assert same(opened.newest, state_of(2)), file
                continue
            found.add(file.name)
            assert warned[0].category is CheckpointWarning
            assert str(directory / "2") in str(warned[0].message), file
            assert same(opened.newest, state_of(1)), file
            assert opened.newest_path == directory / "1"
            opened.save(state_of(2), metrics_of(0.8))  # its place is free again
        assert (tmp_path / str(i) / "damaged" / "2").is_dir()
    assert {"_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "metrics"} < found  # and data files


def test_open_with_every_checkpoint_damaged_starts_anew_with_a_warning_each(tmp_path: Path):
    write(tmp_path / "c", {1: 0.9, 2: 0.8})
    for step in (1, 2):
        shutil.rmtree(tmp_path / "c" / str(step) / "state")
    with (
        pytest.warns(CheckpointWarning) as warned,
        RunCheckpoints(tmp_path / "c", CONFIG, state_of(0)) as opened,
    ):
        assert opened.newest is None
    assert len(warned) == 2


def test_open_after_a_kill_in_mid_write_takes_the_last_whole_checkpoint(tmp_path: Path):
    write(tmp_path / "c", {1: 0.9})
    half = tmp_path / "c" / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "c" / "1", half)
    with RunCheckpoints(tmp_path / "c", CONFIG, state_of(0)) as opened:
        assert same(opened.newest, state_of(1))
        opened.save(state_of(2), None)
    assert steps_in(tmp_path / "c") == [1, 2]


def test_best_when_the_best_is_damaged_takes_the_next_with_a_warning(tmp_path: Path):
    with RunCheckpoints(tmp_path / "c", CONFIG, state_of(0)) as checkpoints:
        for step, loss in {1: 0.4, 2: 0.8, 3: 0.6}.items():
            checkpoints.save(state_of(step), metrics_of(loss))
        checkpoints.wait()
        shutil.rmtree(tmp_path / "c" / "1" / "state")
        with pytest.warns(CheckpointWarning, match="1 is damaged"):
            best, _ = checkpoints.best()
    assert same(best, state_of(3))


def test_save_on_a_full_disk_is_checkpoint_error_and_leaves_the_last_good_one(
    tmp_path: Path, small_disk, caplog: pytest.LogCaptureFixture
):
    directory = tmp_path / "c"
    write(directory, {1: 0.9})
    with pytest.raises(CheckpointError, match=r"step 2 was not saved: .*Last good checkpoint: .*/1\. Free"):
        with small_disk(2_000), RunCheckpoints(directory, CONFIG, state_of(0)) as checkpoints:
            checkpoints.save(state_of(2), metrics_of(0.8))
            checkpoints.wait()
    with RunCheckpoints(directory, CONFIG, state_of(0)) as opened:
        assert same(opened.newest, state_of(1))
        opened.save(state_of(2), metrics_of(0.8))
    assert steps_in(directory) == [1, 2]
    assert not caplog.records  # the error says it all, without the tracebacks of four threads


def test_open_where_a_file_stands_is_checkpoint_error(tmp_path: Path):
    (tmp_path / "c").write_text("")
    with pytest.raises(CheckpointError, match="cannot be used for checkpoints"):
        RunCheckpoints(tmp_path / "c", CONFIG, state_of(0))
