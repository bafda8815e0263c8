"""Two processes of one run, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

SCRIPT = """
import json, sys
run, mode, processes = sys.argv[1:]
from fspo_jax.processes import join
if processes != "1":
    join()
from tiny_language import run_language, tiny_config
seen = []
config = tiny_config("dpo", "implicit", fsdp=2, steps=8, steps_per_dispatch=2, evaluate_every=4)
run_language(run, config, resume=mode != "new", on_progress=lambda p: seen.append(p.loss))
print(json.dumps(seen))
if mode == "resume and run again":
    run_language(run, config)
"""


def start(
    environment: dict[str, str], run: Path, mode: str = "new", processes: int = 1
) -> list[subprocess.Popen]:
    """Processes with four devices between them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).parents[2]
    return [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(run), mode, str(processes)],
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


class Ended(NamedTuple):
    """What a process reported."""

    losses: list[float]
    errors: str


def ended(processes: list[subprocess.Popen], failed: bool = False) -> list[Ended]:
    found = []
    for process in processes:
        output, errors = process.communicate(timeout=240)
        assert (process.returncode != 0) == failed, errors
        found.append(Ended(json.loads(output.splitlines()[-1]), errors))
    return found


@pytest.mark.slow
def test_two_processes_train_as_one_and_their_checkpoints_are_read_by_either(
    tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    (alone,) = ended(start(compiled_programs, tmp_path / "one"))
    first, second = ended(start(compiled_programs, tmp_path / "two", processes=2))
    assert first.losses == second.losses and len(alone.losses) == 4
    np.testing.assert_allclose(first.losses, alone.losses, atol=1e-5)
    ours, theirs = (load_file(tmp_path / n / "reward/decoder/model.safetensors") for n in ("two", "one"))
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-4)
    assert len((tmp_path / "two/metrics.jsonl").read_text().splitlines()) == 4

    def resumed(name: str, mode: str, processes: int) -> list[Ended]:
        """Back to step 4, as after a stop."""
        for directory in ("checkpoints/8", "reward"):
            shutil.rmtree(tmp_path / name / directory)
        children = start(compiled_programs, tmp_path / name, mode, processes)
        found = ended(children, failed=mode != "resume")
        np.testing.assert_allclose(found[0].losses, alone.losses[2:], atol=1e-5)
        return found

    resumed("two", "resume", 1)
    main, other = resumed("one", "resume and run again", 2)
    # The second run is refused. That error, of the main process, stops the other too.
    assert "already exists and is not empty" in main.errors
    assert "the main process failed" in other.errors
