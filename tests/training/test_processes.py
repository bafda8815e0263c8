"""Two processes of one run, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

SCRIPT = """
import json, sys
from fspo_jax.processes import join
if sys.argv[3] == "several":
    join()
from tiny_language import run_language, tiny_config
seen = []
config = tiny_config(
    "dpo", "implicit", fsdp=2, steps=8, steps_per_dispatch=2, evaluate_every=4, seed=int(sys.argv[4])
)
run_language(sys.argv[1], config, resume=sys.argv[2] == "resume", on_progress=lambda p: seen.append(p.loss))
print(json.dumps(seen))
"""


def start(
    environment: dict[str, str], run: Path, mode: str = "new", processes: int = 1, seed: int = 0
) -> list[subprocess.Popen]:
    """Processes with four devices between them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    return [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(run), mode, "several" if processes > 1 else "one", str(seed)],
            env=environment
            | {
                "JAX_NUM_CPU_DEVICES": str(4 // processes),
                "JAX_PLATFORMS": "cpu",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
                "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}",
                "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(i),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]


def losses(processes: list[subprocess.Popen]) -> list[list[float]]:
    found = []
    for process in processes:
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        found.append(json.loads(output.splitlines()[-1]))
    return found


@pytest.mark.slow
def test_two_processes_train_as_one_and_their_checkpoints_are_read_by_either(
    tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    (alone,) = losses(start(compiled_programs, tmp_path / "one"))
    first, second = losses(start(compiled_programs, tmp_path / "two", processes=2))
    assert first == second and len(alone) == 4
    np.testing.assert_allclose(first, alone, atol=1e-5)
    ours, theirs = (load_file(tmp_path / n / "reward/decoder/model.safetensors") for n in ("two", "one"))
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4)
    assert len((tmp_path / "two/metrics.jsonl").read_text().splitlines()) == 4

    # Back to step 4, as after a stop: one process resumes what two wrote, and two what one wrote.
    for name, processes in (("two", 1), ("one", 2)):
        for directory in ("checkpoints/8", "reward"):
            shutil.rmtree(tmp_path / name / directory)
        found = losses(start(compiled_programs, tmp_path / name, "resume", processes))
        np.testing.assert_allclose(found[0], alone[2:], atol=1e-5)


@pytest.mark.slow
def test_error_on_the_main_process_stops_the_other_too(
    tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/something").write_text("")
    processes = start(compiled_programs, tmp_path / "run", processes=2)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode != 0 for process in processes)
    assert "already exists and is not empty" in errors[0]
    assert "the main process failed" in errors[1]
