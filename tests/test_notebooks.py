"""Both notebooks run from top to bottom in an empty directory, and the .ipynb beside each has its cells and outputs."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
EXPECTED = {
    "adapting_to_a_user": ["labels reversed", "DataError - ", "CheckpointError - "],
    "meta_train_tiny": ["Did you mean 'learning_rate'?", "population, step 200", "8 pairs: picks"],
}


SMALLER = {"meta_train_tiny": ("batch_size = 64", "batch_size = 8")}
"""What the run in the tests makes smaller: all lines run, on fewer episodes."""


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
def test_notebook_runs(notebook: Path, tmp_path: Path, compiled_programs: dict[str, str]) -> None:
    source = notebook.read_text(encoding="utf-8")
    whole, smaller = SMALLER.get(notebook.stem, ("", ""))
    assert whole in source
    script = tmp_path / notebook.name
    script.write_text(source.replace(whole, smaller), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**compiled_programs, "FSPO_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[notebook.stem]:
        assert text in done.stdout
