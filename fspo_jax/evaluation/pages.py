"""Turns an evaluation report into tables and pages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.errors import counted
from fspo_jax.evaluation.baselines import IN_WORDS
from fspo_jax.evaluation.bayes_optimal import MEANING, NAME
from fspo_jax.evaluation.plots import few_shot_curve, reliability, save_png, to_svg
from fspo_jax.evaluation.render import Page, Table, percent, spread, write_page
from fspo_jax.evaluation.report import GroupRow, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Evaluation of a personalised reward"

METHODS = {
    "model": "the reward that this report is about",
    "population": "one reward for everybody, trained on the same people; it reads no labelled pair",
    **dict(IN_WORDS.values()),
    NAME: MEANING,
}
"""What the methods of a report are, in words for a reader."""


def write_report(report: Report, directory: str | Path) -> dict[str, Path]:
    """Writes `report.json`, `report.md`, `report.html` and `k_curve.png`. Never leaves half a file.

    Returns:
        The paths by file name.

    Raises:
        DataError: The directory cannot be written.
    """
    return write_page(
        page_of(report),
        directory,
        {
            "report.json": lambda path: path.write_text(report.to_json(), encoding="utf-8"),
            "k_curve.png": lambda path: save_png(_curve(report), path),
        },
    )


def page_of(report: Report) -> Page:
    """Turns the report into a page. Equal reports give equal pages."""
    facts = report.provenance
    without = counted(report.left_out, "user was", "users were")
    left_out = f" {without} left out: too few of their pairs share no text." if report.left_out else ""
    return Page(
        TITLE,
        headline(report),
        tables(report),
        f"{counted(report.users, 'user')}.{left_out} At most {counted(facts['queries'], 'query', 'queries')} per user, "
        f"drawn with seed {facts['seed']}. Fingerprint of the reward: {facts['fingerprint'][:8]}; equal fingerprints "
        f"mean equal weights. Temperature: {facts['temperature']:.2f}; all scores are divided by it, and it is 1 until "
        f"'fspo calibrate' chooses another. fspo_jax {facts['fspo_jax']}, jax {facts['jax']}, Python "
        f"{facts['python']}, {facts['device']}.",
        warnings=report.warnings,
        figures=(to_svg(_curve(report)), to_svg(reliability(report.reliability, report.control_shots))),
        provenance=_toml(facts),
        emphasis=("model", "personal"),
    )


def headline(report: Report) -> str:
    """Returns the main result in one sentence."""
    k = report.control_shots
    text = (
        f"Accuracy on pairs that the reward was not given: {spread(report.row('model', k).accuracy)} % at "
        f"{counted(k, 'shot')}, {spread(report.row('model', 0).accuracy)} % at zero shots, "
        f"over {counted(report.users, 'user')}"
    )
    for row in report.paired:
        if (row.method, row.shots) == ("population", k):
            text += f"; {spread(row.difference, signed=True)} points over the population model"
    ahead = [
        row for row in report.paired if row.shots == k and row.difference.high < 0 and row.method != NAME
    ]
    if ahead:
        best = min(ahead, key=lambda row: row.difference.mean)
        text += (
            f"; but {spread(best.difference, signed=True)} points against {best.method}, which is better here"
        )
    return text + "."


def tables(report: Report) -> tuple[Table, ...]:
    """Returns all tables of a report, in order."""
    k = report.control_shots
    methods = list(dict.fromkeys(row.method for row in report.curve))
    names = [name for name in methods if name != "model"]
    columns = tuple(counted(shots, "shot") for shots in report.shots)
    sensitivity, worst = report.label_sensitivity, report.worst_group
    return (
        Table(
            "Accuracy by number of shots",
            "Accuracy on pairs of people that the method was not given, in per cent: the share for which it prefers "
            "the response that the person chose; 50 is guessing. Mean over users with a 95 % interval (bootstrap over "
            "users). K shots: the method read the first K labelled pairs of the person. The queries are the same for "
            "all K and share no text with these pairs." + _fewer_pairs(report),
            ("method", *columns),
            tuple(
                (name, *(spread(report.row(name, shots).accuracy) for shots in report.shots))
                for name in methods
            ),
        ),
        Table(
            "Methods",
            "What is compared.",
            ("method", "what it is"),
            tuple((name, METHODS.get(name, "-")) for name in methods),
        ),
        Table(
            f"Probabilities and the worst-served users at {counted(k, 'shot')}",
            "Log loss (nats) and Brier score: how good the stated probabilities are, lower is better; always saying "
            "50 % gives 0.693 and 0.250. Calibration error, in per cent: how far stated probabilities are from how "
            "often they come true, on average. Worst tenth: mean accuracy of the tenth of the users with the lowest.",
            ("method", "log loss", "Brier score", "calibration error", "worst tenth"),
            tuple(
                (
                    name,
                    f"{report.row(name, k).log_loss:.3f}",
                    f"{report.row(name, k).brier:.3f}",
                    percent(report.row(name, k).calibration_error),
                    percent(report.row(name, k).worst_decile),
                )
                for name in methods
            ),
        ),
        Table(
            f"Accuracy where the model is sure, at {counted(k, 'shot')}",
            "Sure: the probability that the model gives to the response it predicts is at least this. Coverage: the "
            "share of the queries for which that is so. Else as in general: accuracy on all queries if the prediction "
            "without any pair of the person is kept where the model is less sure. All in per cent.",
            ("sure", "coverage", "accuracy where sure", "else as in general"),
            tuple(
                (
                    f"{100 * row.certainty:.0f}",
                    percent(row.coverage),
                    spread(row.accuracy),
                    spread(row.with_general),
                )
                for row in report.certainty
            ),
        ),
        Table(
            "Controls",
            f"Accuracy of the model at {counted(k, 'shot')} when something is broken on purpose, in per cent, and the "
            "difference to its zero shots in points, on the same queries. If a control does as well as the model, the "
            "model did not learn it from the person's own labels.",
            ("control", "accuracy", "difference to zero shots", "expected"),
            tuple(
                (row.name, spread(row.accuracy), spread(row.difference, signed=True), row.expectation)
                for row in report.controls
            ),
        ),
        Table(
            "Label sensitivity",
            f"Does the model read the labels? Changed: queries for which {counted(k, 'shot')} changed the predicted "
            "response, compared with zero shots. Flip rate, in per cent: how many of these predict the other response "
            "when every label of the person is flipped; 100 means that it follows the labels. Queries: the "
            "pairs of all users that were predicted.",
            ("changed", "queries", "flip rate"),
            ((f"{sensitivity.changed:,}", f"{sensitivity.queries:,}", percent(sensitivity.flip_rate)),),
        ),
        Table(
            "The model against other methods",
            "Accuracy of the model minus that of the other method, in points, paired by user: above zero the model "
            "is better.",
            ("method", *columns),
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
        _groups(
            "Groups",
            report.groups if len(report.groups) > 1 else (),
            k,
            names,
            ""
            if worst is None
            else f" Worst-served of the {worst.groups} groups with at least 5 users: {worst.name} with "
            f"{spread(worst.mean)} %, {percent(worst.gap)} points behind the best.",
        ),
        Table(
            "Best of n under the true utility",
            "Each method picks one of the candidates, and the true utility of the person judges the pick (personal: "
            f"the model after {counted(k, 'shot')}). Win rate, in per cent: how often the pick is better than a random "
            "candidate, ties one half. Regret, in nats: the utility lost against the best candidate.",
            ("picked by", "win rate", "regret"),
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


def _fewer_pairs(report: Report) -> str:
    """Says how many users are measured with fewer pairs than the table says, if there are any."""
    fewer = [
        f"{report.users - count:,} at {k}" for k, count in report.full_context.items() if count < report.users
    ]
    return (
        f" Users with fewer than K pairs are measured with all they have: {', '.join(fewer)} shots."
        if fewer
        else ""
    )


def _toml(values: Mapping[str, Any], path: str = "") -> str:
    """Formats nested values as a TOML file has them."""
    lines, tables = [], []
    for key, value in values.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            tables.append(f"\n[{name}]\n{_toml(value, name)}")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            tables += [f"\n[[{name}]]\n{_toml(entry, name)}" for entry in value]
        else:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join([*lines, *tables])


def _groups(title: str, rows: Sequence[GroupRow], shots: int, names: Sequence[str], note: str = "") -> Table:
    return Table(
        title,
        f"Users with at least {counted(shots, 'context pair')}. Accuracy of the model in per cent, then how many "
        "points it is better than each other method, paired by user." + note,
        (
            title[:-1].lower(),
            "users",
            "zero shots",
            counted(shots, "shot"),
            *(f"better than {name}" for name in names),
        ),
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


def _curve(report: Report) -> Figure:
    methods = dict.fromkeys(row.method for row in report.curve)
    curves = {name: [report.row(name, k).accuracy for k in report.shots] for name in methods}
    return few_shot_curve(curves, report.shots)
