"""The picture of the README is drawn from its committed numbers."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_picture_shows_the_committed_numbers() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "plot_accuracy.py"))
    data = json.loads((ROOT / "docs" / "results" / "accuracy.json").read_text(encoding="utf-8"))
    committed = (ROOT / "docs" / "results" / "accuracy.svg").read_text(encoding="utf-8")
    figure = script["draw"](data)
    assert len(figure.axes) == len(data["panels"]) == 2
    for axis, panel in zip(figure.axes, data["panels"], strict=True):
        assert f"<!-- {axis.get_title(loc='left')} -->" in committed
        assert [list(line.get_ydata()) for line in axis.lines] == [
            [accuracy for _, accuracy, _, _ in panel["curves"][name]]
            for name in script["CURVES"]
            if name in panel["curves"]
        ]
