"""Both notebooks run from top to bottom in an empty directory, and the .ipynb beside each has its cells and outputs."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
EXPECTED = {
    "adapting_to_a_user": ["labels reversed", "LimitError - context has 40", "CheckpointError - "],
    "meta_train_tiny": ["Did you mean 'learning_rate'?", "population, step 200", "8 pairs: picks"],
}


def test_there_are_two_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["adapting_to_a_user", "meta_train_tiny"]


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_beside_the_script_has_its_cells_and_their_outputs(script: Path) -> None:
    cells_of = runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))["cells_of"]
    expected = [(cell.kind, cell.source) for cell in cells_of(script.read_text(encoding="utf-8"))]
    cells = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == expected, (
        f"run: python scripts/notebooks.py notebooks/{script.name}"
    )
    printed = "".join(text for cell in cells for output in cell.get("outputs", ()) for text in output["text"])
    for text in EXPECTED[script.stem]:
        assert text in printed


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_begins_with_the_reward_of_the_package(script: Path) -> None:
    first_code = script.read_text(encoding="utf-8").split("# %%\n")[1]
    assert 'fspo.PersonalizedReward.load("fspo-mini")' in first_code


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
    for text in EXPECTED[notebook.stem]:
        assert text in done.stdout
