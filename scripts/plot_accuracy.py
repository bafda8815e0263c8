"""Draws the picture of the README: accuracy by number of labelled pairs, on people never seen.

python scripts/plot_accuracy.py                          from docs/results/accuracy.json into accuracy.svg
python scripts/plot_accuracy.py COMMIT PERSONAS REAL     takes the numbers from the reports of two runs first
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt

matplotlib.use("svg")
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"

TITLES = ("Synthetic personas", "Real people, four studies")
CURVES = {  # name in reports: label, colour
    "Bayes-optimal": ("best possible", "#999999"),
    "model": ("fspo_jax", "#3949ab"),
    "per-user logistic": ("logistic regression,\none per person", "#e07b39"),
    "population": ("same for everybody", "#2e8b57"),
}


def from_reports(commit: str, runs: list[Path]) -> dict[str, Any]:
    """What the picture needs of the runs' reports: for each curve [shots, accuracy, low, high] in per cent."""
    panels = []
    for title, run in zip(TITLES, runs, strict=True):
        report = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))
        curves: dict[str, list[list[float]]] = {}
        for row in report["curve"]:
            if row["method"] in CURVES:
                point = [row["shots"], *(round(100 * value, 1) for value in row["accuracy"])]
                curves.setdefault(row["method"], []).append(point)
        panels.append({"title": title, "people": report["users"], "curves": curves})
    return {"commit": commit, "panels": panels}


def draw(data: dict[str, Any]) -> plt.Figure:
    """One panel for each kind of people; a band is a 95 % interval over people."""
    plt.rcParams.update(
        {"font.size": 10, "svg.hashsalt": "fspo", "axes.spines.top": False, "axes.spines.right": False}
    )
    figure, axes = plt.subplots(1, len(data["panels"]), figsize=(9.6, 3.5), sharey=True, layout="constrained")
    for axis, panel in zip(axes, data["panels"], strict=True):
        ends = []
        for name, (label, colour) in CURVES.items():
            if name not in panel["curves"]:
                continue
            shots, accuracy, low, high = zip(*panel["curves"][name], strict=True)
            places = range(len(shots))
            axis.plot(places, accuracy, color=colour, marker="o", markersize=3.5, linewidth=2)
            axis.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
            axis.set_xticks(places, [str(number) for number in shots])
            ends.append((accuracy[-1], label, colour))
        lowest_free = 0.0
        for height, label, colour in sorted(ends):
            half = 1.7 * (1 + label.count("\n"))  # of the label's height, in per cent
            place = max(height, lowest_free + half)
            lowest_free = place + half
            axis.annotate(label, (len(shots) - 0.82, place), color=colour, va="center", annotation_clip=False)
        axis.set_title(f"{panel['title']} ({panel['people']:,} people)", loc="left", fontsize=10.5)
        axis.set_xlim(-0.2, len(shots) + 1.7)
        axis.set_xlabel("labelled pairs of the person", x=0.4)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylim(45, 95)
    axes[0].set_yticks(range(50, 100, 10), [f"{value} %" for value in range(50, 100, 10)])
    axes[0].set_ylabel("accuracy on people never seen")
    return figure


def main(arguments: list[str]) -> None:
    """Takes the numbers where runs are given, and draws."""
    path = RESULTS / "accuracy.json"
    if arguments:
        commit, *runs = arguments
        data = from_reports(commit, [Path(run) for run in runs])
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    figure = draw(json.loads(path.read_text(encoding="utf-8")))
    figure.savefig(RESULTS / "accuracy.svg", metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main(sys.argv[1:])
