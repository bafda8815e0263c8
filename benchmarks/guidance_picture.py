"""The picture of `guidance.py`: winrate and perplexity of each row of its outputs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fspo_jax.evaluation.plots import COLOURS, to_svg


def earlier_rows(path: str) -> dict[str, dict]:
    """Reads the rows of an earlier output, as an option."""
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        for row in rows.keys() - {"plain"}:
            float(rows[row]["winrate"][2]), float(rows[row]["perplexity_ratio"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{path}: is no output of this benchmark ({error!r})") from None
    return rows


def in_words(row: str) -> str:
    """What a row is called in the picture."""
    kind, *numbers = row.split(":")
    n, tokens, temperature = [*numbers, "", "", ""][:3]
    if kind == "best-of":
        return f"best of {n}"
    if kind not in ("few-shot", "blockwise"):
        return row.replace(":", " ")
    parts = ["examples"] * (kind == "few-shot") + [f"guidance {n} x {tokens}"] * (n not in ("", "1"))
    return (" and ".join(parts) or "plain") + (f", at {temperature}" if temperature else "")


def draw(rows: dict[str, dict], path: Path) -> None:
    """Winrate and perplexity of each row, the best winrate on top."""
    from matplotlib.figure import Figure

    names = sorted((row for row in rows if row != "plain"), key=lambda row: rows[row]["winrate"][0])
    figure = Figure(figsize=(7.6, 0.8 + 0.34 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, row in enumerate(names):
        mean, low, high = rows[row]["winrate"]
        left.plot([low, high], [place, place], color=COLOURS[0], linewidth=1.5)
        left.plot([mean], [place], marker="o", color=COLOURS[0])
        right.plot([rows[row]["perplexity_ratio"]], [place], marker="o", color=COLOURS[1])
    left.axvline(50, color="0.6", linestyle="--", linewidth=1)
    right.axvline(1, color="0.6", linestyle="--", linewidth=1)
    left.set_yticks(range(len(names)), [in_words(row) for row in names])
    left.set_xlabel("wins against plain answers, %")
    right.set_xlabel("perplexity, times plain")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.write_text(to_svg(figure))
