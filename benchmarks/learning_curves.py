"""How fast objectives learn: accuracy on meta-validation people against tokens read, of runs of language models.

    python benchmarks/learning_curves.py "IPO=runs/ipo" "scalar head=runs/scalar" --picture docs/results/learning.svg

Reads what the runs wrote; trains nothing. A run that began from another one (`scorer.base` is a run) goes on where that
one ended. Tokens are places of rows without padding: where `scorer.pool` is 8, eight tokens of a text are one of them.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import new_file, provenance, run_benchmark

from fspo_jax.evaluation.plots import COLOURS, to_svg


def curve(run: Path) -> dict[str, Any]:
    """The evaluations of a run: tokens and labelled pairs so far, accuracy by number of pairs, seconds of training."""
    config = json.loads((run / "config.json").read_text())["config"]
    base = Path(config["scorer"]["base"] or "/nowhere")
    before = curve(base)["points"][-1] if (base / "metrics.jsonl").exists() else {}
    tokens, seconds = before.get("tokens", 0.0), before.get("seconds", 0.0)
    start = before.get("pairs", 0)
    a_step = config["episodes"]["batch_size"] * config["episodes"]["queries"]
    points = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        tokens += row["tokens"]
        seconds += config["steps_per_dispatch"] / row["steps_per_second"]
        if found := row.get("validation"):
            accuracy = {
                name.partition("@")[2]: round(100 * value, 1)
                for name, value in found.items()
                if name.startswith("accuracy@")
            }
            points.append(
                {"step": row["step"], "tokens": tokens, "pairs": start + row["step"] * a_step,
                 "seconds": round(seconds), "accuracy": accuracy}
            )  # fmt: skip
    return {"run": run.name, "objective": config["objective"], "points": points}


def named_curve(text: str) -> tuple[str, dict[str, Any]]:
    """Reads NAME=RUN."""
    name, _, path = text.partition("=")
    try:
        return name, curve(Path(path or "/nowhere"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise argparse.ArgumentTypeError(
            f"{text}: is not NAME=RUN with a run of a language model ({error!r})"
        ) from None


def draw(curves: dict[str, dict[str, Any]], shots: str, path: Path) -> None:
    """Accuracy against tokens, one line for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for colour, (name, found) in zip(COLOURS, curves.items(), strict=False):
        points = found["points"]
        axes.plot(
            [point["tokens"] / 1e6 for point in points],
            [point["accuracy"][shots] for point in points],
            marker="o", markersize=4, color=colour, label=name,
        )  # fmt: skip
    axes.axhline(50, color="#999999", linewidth=1, linestyle="--")
    axes.set_xlabel("tokens read in training, millions")
    axes.set_ylabel(f"accuracy with {shots} pairs, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    path.write_text(to_svg(figure))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=named_curve, help="NAME=RUN")
    parser.add_argument("--shots", default="8")
    parser.add_argument("--picture", type=new_file, help="where to draw, as SVG")
    arguments = parser.parse_args()
    curves = dict(arguments.runs)
    print(json.dumps(provenance() | {"curves": curves}, indent=1))
    if arguments.picture:
        draw(curves, arguments.shots, Path(arguments.picture))


if __name__ == "__main__":
    run_benchmark(main)
