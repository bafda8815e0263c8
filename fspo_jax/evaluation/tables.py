"""A report as tables of text, the common ground of its Markdown and its HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fspo_jax.evaluation.report import GroupRow, Report
from fspo_jax.metrics import Interval


class Table(NamedTuple):
    """A titled table; `note` says how to read it."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def percent(value: float, signed: bool = False) -> str:
    """A share in per cent with one decimal, or `-` for NaN."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def spread(value: Interval, signed: bool = False) -> str:
    """`mean [low, high]` in per cent."""
    if math.isnan(value.mean):
        return "-"
    return f"{percent(value.mean, signed)} [{percent(value.low, signed)}, {percent(value.high, signed)}]"


def headline(report: Report) -> str:
    """The finding in one sentence."""
    k = report.control_shots
    gains = [row for row in report.paired if row.shots == k and row.method == "population"]
    text = (
        f"Accuracy {spread(report.row('model', k).accuracy)} % at {k} shots, "
        f"{spread(report.row('model', 0).accuracy)} % at zero shots, over {report.users:,} users"
    )
    if gains:
        text += f"; {spread(gains[0].difference, signed=True)} points against the population model"
    return text + "."


def tables(report: Report) -> tuple[Table, ...]:
    """All tables of a report; those without rows are left out."""
    k = report.control_shots
    methods = list(dict.fromkeys(row.method for row in report.curve))
    names = [name for name in methods if name != "model"]
    found = (
        Table(
            "Accuracy by number of shots",
            "Per cent, mean over users with 95 % bootstrap interval. K shots are the first K pairs of one fixed "
            "context; queries are the same for all K and share no text with it. Users with at least K pairs: "
            + ", ".join(f"{count:,} at {shots}" for shots, count in report.full_context.items())
            + "; the others enter with all they have.",
            ("method", *(f"{shots} shots" for shots in report.shots)),
            tuple(
                (name, *(spread(report.row(name, shots).accuracy) for shots in report.shots))
                for name in methods
            ),
        ),
        Table(
            f"Probabilities and the worst-served users at {k} shots",
            "Log loss in nats and Brier score (lower is better), expected calibration error in per cent, and the mean "
            "accuracy of the worst tenth of users.",
            ("method", "log loss", "Brier", "calibration error", "worst tenth"),
            tuple(
                (
                    name,
                    f"{report.row(name, k).log_loss:.3f}",
                    f"{report.row(name, k).brier:.3f}",
                    percent(report.row(name, k).ece),
                    percent(report.row(name, k).worst_decile),
                )
                for name in methods
            ),
        ),
        Table(
            "Controls",
            f"At {k} shots. Evaluations that should fail on purpose; the difference is to the model's zero shots.",
            ("control", "accuracy", "difference", "expected"),
            tuple(
                (row.name, spread(row.accuracy), spread(row.difference, signed=True), row.expectation)
                for row in report.controls
            ),
        ),
        Table(
            "Label obedience",
            f"Of the queries whose predicted side {k} shots changed, the share that the same context with flipped "
            "labels turns around.",
            ("changed", "queries", "turned around"),
            (
                (
                    f"{report.obedience.changed:,}",
                    f"{report.obedience.queries:,}",
                    percent(report.obedience.turned),
                ),
            ),
        ),
        Table(
            "The model against other methods",
            "Difference of accuracy in points, paired by user.",
            ("method", *(f"{shots} shots" for shots in report.shots)),
            tuple(
                (
                    name,
                    *(
                        spread(row.difference, signed=True)
                        for shots in report.shots
                        for row in report.paired
                        if (row.method, row.shots) == (name, shots)
                    ),
                )
                for name in names
            ),
        ),
        _groups("Sources", report.sources, k, names),
        _groups("Groups", report.groups if len(report.groups) > 1 else (), k, names),
        Table(
            "Best of n under the true utility",
            f"Each picker takes one of the candidates (personal: after {k} shots). Winrate against a random candidate "
            "in per cent, ties one half; regret in nats against the best candidate.",
            ("picker", "winrate", "regret"),
            tuple(
                (
                    row.picker,
                    spread(row.winrate),
                    f"{row.regret.mean:.2f} [{row.regret.low:.2f}, {row.regret.high:.2f}]",
                )
                for row in report.picks
            ),
        ),
    )
    return tuple(table for table in found if table.rows)


def _groups(title: str, rows: Sequence[GroupRow], shots: int, names: Sequence[str]) -> Table:
    return Table(
        title,
        f"Users with at least {shots} context pairs. Accuracy of the model, then its gain on each other method in "
        "points, paired by user.",
        (title[:-1].lower(), "users", "zero shots", f"{shots} shots", *(f"on {name}" for name in names)),
        tuple(
            (
                row.name or "(none)",
                f"{row.users:,}",
                spread(row.zero_shot),
                spread(row.accuracy),
                *(spread(row.gains[name], signed=True) for name in names),
            )
            for row in rows
        ),
    )
