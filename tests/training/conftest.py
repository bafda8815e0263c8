"""Runs that several tests compare with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_language import run_language
from tiny_run import run_tiny

from fspo_jax.training.fit import Progress


@pytest.fixture(scope="session")
def undisturbed_progress() -> list[Progress]:
    """What the run of `undisturbed` reported."""
    return []


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, undisturbed_progress: list[Progress]) -> Path:
    """A run of the tiny config from start to end. Read only."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    run_tiny(run, on_progress=undisturbed_progress.append)
    return run


@pytest.fixture(scope="session")
def undisturbed_language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the tiny language model."""
    run = tmp_path_factory.mktemp("undisturbed") / "language"
    run_language(run)
    return run
