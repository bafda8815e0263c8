"""Runs the notebooks, percent scripts in notebooks/, and writes an .ipynb with the outputs beside each.

    python scripts/notebooks.py                      all of them, in a temporary directory
    python scripts/notebooks.py notebooks/NAME.py    one

What a cell prints is its output. Needs no Jupyter.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


class Cell(NamedTuple):
    """One cell of a percent script."""

    kind: str  # "markdown" or "code"
    source: str


def cells_of(script: str) -> list[Cell]:
    """The cells of a percent script; text before the first mark is none."""
    cells = []
    for part in re.split(r"(?m)^# %%", script)[1:]:
        mark, _, body = part.partition("\n")
        if "[markdown]" in mark:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines())
            cells.append(Cell("markdown", text))
        else:
            cells.append(Cell("code", body.strip()))
    return cells


def run(cells: list[Cell]) -> list[str]:
    """Runs the code cells in one namespace, in the current directory; what each cell printed."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = []
    for cell in cells:
        output = io.StringIO()
        if cell.kind == "code":
            with contextlib.redirect_stdout(output):
                exec(compile(cell.source, "<cell>", "exec"), namespace)
        printed.append(output.getvalue())
    return printed


def notebook(cells: list[Cell], printed: list[str]) -> dict[str, Any]:
    """The notebook in Jupyter's format 4.5."""
    made: list[dict[str, Any]] = []
    for cell, text in zip(cells, printed, strict=True):
        entry = {
            "cell_type": cell.kind,
            "id": f"cell-{len(made)}",
            "metadata": {},
            "source": cell.source.splitlines(keepends=True),
        }
        if cell.kind == "code":
            stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
            entry |= {"execution_count": None, "outputs": [stream] if text else []}
        made.append(entry)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def main(paths: list[Path]) -> None:
    """Runs each script in an empty directory and writes the notebook beside it."""
    for path in [path.resolve() for path in paths] or sorted(NOTEBOOKS.glob("*.py")):
        cells = cells_of(path.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
            printed = run(cells)
        text = json.dumps(notebook(cells, printed), indent=1, ensure_ascii=False)
        path.with_suffix(".ipynb").write_text(text + "\n", encoding="utf-8")
        print(f"{os.path.relpath(path.with_suffix('.ipynb'))}: {len(cells)} cells")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
