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
from tiny_language import run_language
from tiny_run import run_tiny

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


def killed(run: Path, environment: dict[str, str], step: int, name: str, *options: str) -> str:
    """What a process that trains wrote to standard error before the named signal at `step` ended it."""
    resume = ("--resume",) if run.exists() else ()
    process = start(run, environment, "--sleep", "0.2", *resume, *options)
    wait_for(process, run, step)
    number = signal.Signals[name]
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    # The tiny script lets the exception of a signal that can be caught through.
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 1), errors
    assert step <= rows(run)[-1]["step"] < 40
    return errors


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
def test_meta_train_stopped_and_killed_says_how_to_resume_and_equals_an_undisturbed_run(
    tmp_path: Path, compiled_programs: dict[str, str], undisturbed: Path
):
    run = tmp_path / "run"
    killed(run, compiled_programs, 10, "SIGKILL")
    errors = killed(run, compiled_programs, 20, "SIGINT")
    stopped = rows(run)[-1]["step"]
    saved = run / "checkpoints" / str(stopped)
    assert saved.is_dir()
    assert f"TrainingInterrupted: stopped by SIGINT after step {stopped} of 40" in errors
    assert f"saved as {saved}. Go on with resume=True, or `--resume`." in errors
    killed(run, compiled_programs, 30, "SIGKILL")
    run_tiny(run, resume=True)
    assert_same_run(run, undisturbed)


@pytest.mark.slow
def test_meta_train_language_stopped_and_killed_then_resumed_equals_an_undisturbed_run(
    tmp_path: Path, compiled_programs: dict[str, str], undisturbed_language: Path
):
    run = tmp_path / "run"
    errors = killed(run, compiled_programs, 10, "SIGTERM", "--language")
    assert f"stopped by SIGTERM after step {rows(run)[-1]['step']} of 40" in errors
    killed(run, compiled_programs, 25, "SIGKILL", "--language")
    run_language(run, resume=True)
    assert_same_run(run, undisturbed_language)
    decoder = "reward/decoder/model.safetensors"
    assert (run / decoder).read_bytes() == (undisturbed_language / decoder).read_bytes()
