"""Both notebooks run from top to bottom, in an empty directory and without warnings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.py"))


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["adapting_to_a_user", "meta_train_tiny"]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(notebook)],
        cwd=tmp_path,
        env={**os.environ, "FSPO_CACHE": str(tmp_path / "cache"), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    expected = {
        "adapting_to_a_user": ["labels reversed", "LimitError - context has 40", "CheckpointError - "],
        "meta_train_tiny": ["Did you mean 'learning_rate'?", "population, step 200", "8 shots: picks"],
    }
    for text in expected[notebook.stem]:
        assert text in done.stdout
