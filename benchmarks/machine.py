"""Where and on what a benchmark ran, how long a call took, and what is wrong with what it was given."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from fspo_jax.errors import FspoError
from fspo_jax.private_files import why_not_written


def provenance() -> dict[str, Any]:
    """Commit (with `+` when the tree has changes), machine and versions."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def milliseconds(call: Callable[[], object], repeats: int) -> list[float]:
    """How long each of several calls took."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e3)
    return times


def run_benchmark(main: Callable[[], None]) -> None:
    """Runs a benchmark; an error of the package is one line, as that of a wrong option is."""
    try:
        main()
    except FspoError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: error: {error}")


def new_file(path: str) -> str:
    """Reads an option that names a file to be written, so that a wrong one is an error before anything is measured."""
    folder = Path(path).absolute().parent
    reason = why_not_written(path) if folder.is_dir() else f"there is no directory {folder}"
    if Path(path).is_dir():
        reason = "it is a directory"
    if reason:
        raise argparse.ArgumentTypeError(f"{path}: cannot be written: {reason}")
    return path
