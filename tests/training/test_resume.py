"""A training process that is killed in mid-run, resumed, and compared with one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("tiny_run.py")


def start(run: Path, environment: dict[str, str], *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(run), *options],
        env=environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    whole = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in whole]


def wait_for(process: subprocess.Popen, run: Path, step: int) -> None:
    """Returns as soon as the process has written the metrics of `step`."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(row["step"] >= step for row in rows(run)):
            return
        time.sleep(0.005)
    process.kill()
    pytest.fail(f"step {step} was never reached: {process.communicate()[1]}")


def finish(run: Path, environment: dict[str, str], *options: str) -> None:
    process = start(run, environment, *options)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


def assert_same_run(run: Path, other: Path) -> None:
    """Exported bytes, the whole final state and every logged number but the times are equal."""
    assert (run / "reward/model.safetensors").read_bytes() == (
        other / "reward/model.safetensors"
    ).read_bytes()
    metrics = [
        [{k: v for k, v in row.items() if k not in ("time", "steps_per_second")} for row in rows(directory)]
        for directory in (run, other)
    ]
    assert metrics[0] == metrics[1]
    assert [row["step"] for row in metrics[0]] == list(range(5, 41, 5))
    states = [ocp.load(str(directory / "checkpoints/40")) for directory in (run, other)]
    leaves = [dict(flat(state)) for state in states]
    assert leaves[0].keys() == leaves[1].keys()
    assert all(np.array_equal(leaves[0][name], leaves[1][name]) for name in leaves[0])


def flat(tree: object, path: str = "") -> list[tuple[str, np.ndarray]]:
    if isinstance(tree, dict):
        return [leaf for name, value in tree.items() for leaf in flat(value, f"{path}/{name}")]
    if isinstance(tree, (list, tuple)):
        return [leaf for i, value in enumerate(tree) for leaf in flat(value, f"{path}/{i}")]
    return [] if tree is None else [(path, np.asarray(tree))]


@pytest.mark.slow
@pytest.mark.parametrize("step", [15])
def test_meta_train_killed_with_sigkill_then_resumed_equals_an_undisturbed_run(
    tmp_path: Path, compiled_programs: dict[str, str], undisturbed: Path, step: int
):
    run = tmp_path / "run"
    process = start(run, compiled_programs, "--sleep", "0.2")
    wait_for(process, run, step)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert rows(run)[-1]["step"] < 40
    finish(run, compiled_programs, "--resume")
    assert_same_run(run, undisturbed)


@pytest.mark.slow
def test_meta_train_killed_again_and_again_then_resumed_equals_an_undisturbed_run(
    tmp_path: Path, compiled_programs: dict[str, str], undisturbed: Path
):
    run = tmp_path / "run"
    for step, name in ((10, "SIGKILL"), (20, "SIGTERM"), (30, "SIGKILL")):
        options = ("--sleep", "0.2") + (("--resume",) if run.exists() else ())
        process = start(run, compiled_programs, *options)
        wait_for(process, run, step)
        process.send_signal(signal.Signals[name])
        process.communicate()
        assert process.returncode != 0
    finish(run, compiled_programs, "--resume")
    assert_same_run(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_meta_train_stopped_by_a_signal_saves_says_how_to_resume_and_equals_an_undisturbed_run(
    tmp_path: Path, compiled_programs: dict[str, str], undisturbed: Path, name: str
):
    run = tmp_path / "run"
    process = start(run, compiled_programs, "--sleep", "0.2")
    wait_for(process, run, 10)
    process.send_signal(signal.Signals[name])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1  # the tiny script lets the exception through
    stopped = rows(run)[-1]["step"]
    assert 10 <= stopped < 40
    saved = run / "checkpoints" / str(stopped)
    assert saved.is_dir()
    assert f"TrainingInterrupted: stopped by {name} after step {stopped} of 40" in errors
    assert f"saved as {saved}. Go on with resume=True, or `--resume`." in errors
    finish(run, compiled_programs, "--resume")
    assert_same_run(run, undisturbed)


@pytest.mark.slow
def test_meta_train_language_stopped_and_killed_then_resumed_equals_an_undisturbed_run(
    tmp_path: Path, compiled_programs: dict[str, str], undisturbed_language: Path
):
    run = tmp_path / "run"
    for step, name, options in ((10, "SIGTERM", ()), (25, "SIGKILL", ("--resume",))):
        process = start(run, compiled_programs, "--language", "--sleep", "0.2", *options)
        wait_for(process, run, step)
        process.send_signal(signal.Signals[name])
        _, errors = process.communicate(timeout=60)
        assert process.returncode != 0 and rows(run)[-1]["step"] < 40, errors
    finish(run, compiled_programs, "--language", "--resume")
    assert_same_run(run, undisturbed_language)
    decoder = "reward/decoder/model.safetensors"
    assert (run / decoder).read_bytes() == (undisturbed_language / decoder).read_bytes()
