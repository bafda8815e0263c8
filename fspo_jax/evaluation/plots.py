"""Plots of reports: the few-shot curve and the reliability diagram. matplotlib is imported when needed."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.errors import counted
from fspo_jax.metrics import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#7f7f7f", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Okabe and Ito's palette for colour-blind readers. The first colour is the model's."""


def few_shot_curve(curves: Mapping[str, Sequence[Interval]], shots: Sequence[int]) -> Figure:
    """Plots accuracy by number of shots, with 95 % intervals and labels at the right end.

    Args:
        curves: Accuracies of each method, one per number of shots. The first method is emphasised.
        shots: The numbers of shots.
    """
    figure, axes = _figure(6.2, 3.9)
    places = list(range(len(shots)))
    ends = []
    for i, (method, rows) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        style = {"color": colour, "linewidth": 2.4 if i == 0 else 1.4, "zorder": 3 if i == 0 else 2}
        axes.plot(places, [100 * row.mean for row in rows], marker="o", markersize=4, **style)
        axes.fill_between(
            places,
            [100 * row.low for row in rows],
            [100 * row.high for row in rows],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        ends.append((100 * rows[-1].mean, method, colour))
    low, high = axes.get_ylim()
    lowest = -math.inf
    for value, method, colour in sorted(ends):  # labels must not overlap
        lowest = max(value, lowest + (high - low) * 0.055)
        axes.annotate(
            method,
            (places[-1], value),
            xytext=(places[-1] + 0.12, lowest),
            color=colour,
            va="center",
            fontsize=9,
        )
    axes.set_xticks(places, [str(count) for count in shots])
    axes.set_xlim(-0.2, places[-1] + max(0.8, 0.3 * len(places)))
    axes.set_xlabel("labelled pairs of the person (shots)")
    axes.set_ylabel("accuracy on pairs not given, %")
    axes.set_title("Few-shot curve, 95 % interval over users", loc="left", fontsize=11)
    return figure


def reliability(bins: Sequence[tuple[float, float, float]], shots: int) -> Figure:
    """Plots how often predictions came true by predicted probability; bars show the share of pairs in each bin.

    Args:
        bins: (confidence, frequency, weight) of each bin. The confidence of an empty bin is NaN.
        shots: Number of shots of the predictions.
    """
    figure, axes = _figure(3.5, 3.9)
    bins = [row for row in bins if not math.isnan(row[0])]
    axes.plot([50, 100], [50, 100], color="#999999", linewidth=1, linestyle="--")
    axes.bar(
        [100 * c for c, _, _ in bins],
        [100 * w for _, _, w in bins],
        width=3,
        bottom=30,
        color="#cccccc",
        zorder=1,
    )
    axes.plot(
        [100 * c for c, _, _ in bins], [100 * f for _, f, _ in bins], color=COLOURS[0], marker="o", zorder=3
    )
    axes.set_ylim(30, 102)
    axes.set_xlim(49, 101)
    axes.set_xlabel("predicted probability, %")
    axes.set_ylabel("came true, %")
    axes.set_title(f"Reliability at {counted(shots, 'shot')}", loc="left", fontsize=11)
    return figure


def to_svg(figure: Figure) -> str:
    """Returns the `<svg>` element of a figure. Equal figures give equal texts."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "fspo_jax", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    figure.savefig(path, format="png", dpi=150)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes
