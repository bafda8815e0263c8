"""Writes the tables of a benchmark as Markdown and HTML."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from fspo_jax.benchmark.community_report import community_tables
from fspo_jax.benchmark.results import Cell, Results, SourceScores, mean_over_sources
from fspo_jax.config import BenchmarkConfig
from fspo_jax.errors import counted
from fspo_jax.evaluation.baselines import CEILINGS
from fspo_jax.evaluation.controls import FLIPPED, OTHER_USER, SHUFFLED
from fspo_jax.evaluation.plots import COLOURS, few_shot_curve, to_svg
from fspo_jax.evaluation.render import Page, Table, percent, spread, write_page
from fspo_jax.metrics import worst_decile, worst_group
from fspo_jax.types import User

TITLE = "Personalised reward methods on the same features, users and splits"
CONTROLS = (FLIPPED, OTHER_USER, SHUFFLED)
NONE = np.zeros(0)


def write_benchmark_report(
    config: BenchmarkConfig, cells: Sequence[Cell], users: Sequence[User], directory: str | Path
) -> dict[str, Path]:
    """Writes `report.md` and `report.html`; raises `DataError` if they cannot be written."""
    return write_page(page_of(Results(config, cells), users), directory)


def page_of(results: Results, users: Sequence[User]) -> Page:
    """Turns the results into a page."""
    from fspo_jax import __version__

    config, ranked = results.config, results.ranked()
    held_out = "people" if config.hold_out == "users" else "whole studies, one at a time"
    shown = [name for name in ranked if len(config.shots) > 1][: len(COLOURS)]
    curves = {name: [results.mean(results.at(k), name) for k in config.shots] for name in shown}
    return Page(
        TITLE,
        f"Held out: {held_out}. Best at {counted(results.shots, 'shot')}, mean over "
        f"{counted(len(results.sources), 'source')}: {ranked[0]} with "
        f"{spread(results.mean(results.at(results.shots), ranked[0]))} %, accuracy on pairs of people that no method "
        "was trained on.",
        tables(results, users),
        f"{counted(config.seeds, 'training seed')}, {counted(config.steps, 'step')}; every trained method tried "
        f"{counted(len(config.trials), 'setting')} on meta-validation users. fspo_jax {__version__}, "
        f"jax {jax.__version__}, Python {platform.python_version()}, {jax.devices()[0].device_kind}.",
        figures=[to_svg(few_shot_curve(curves, config.shots))] if curves else (),
        emphasis=ranked[:1],
    )


def tables(results: Results, users: Sequence[User]) -> list[Table]:
    """Returns all tables, in order."""
    reference, best = results.best_for_everybody(), results.ranked()[0]
    k, at = results.shots, counted(results.shots, "shot")
    found = [_accuracy(results), _by_shots(results)]
    if reference is not None:
        note = "Points, paired by user, above the best method that is the same for everybody."
        found.append(
            _by_source(results, f"Difference to '{reference}' at {at}", note, results.at(k), reference)
        )
    if best != reference:
        note = "Points, paired by user, above the best method: below zero the best method is ahead."
        found.append(_by_source(results, f"Difference to '{best}' at {at}", note, results.at(k), best))
    if 0 in results.config.shots:
        note = "Per cent: what a method predicts for everybody, before it has read a labelled pair."
        found.append(_by_source(results, "Accuracy at zero shots", note, results.at(0)))
    return [
        *found,
        *(community_tables(results, users) if results.config.largest_community else ()),
        _errors(
            results,
            f"Calibration error at {at}",
            "How far stated probabilities are from how often they come true, in per cent, over all queries of a source "
            "(expected calibration error). Few queries give a large error by chance.",
            "calibration_error",
        ),
        _errors(
            results,
            f"Calibration error at {at}, calibrated on the people's own pairs",
            "The same after temperature scaling, with one temperature per source. It is fitted by leave-one-out "
            "likelihood: each context pair of the judged people is predicted from the person's other pairs. No query "
            "is read for it.",
            "calibrated_error",
        ),
        _controls(results),
        _probabilities(results),
        _groups(results, users),
        _costs(results),
    ]


def _by_source(
    results: Results, title: str, note: str, value: Callable[[SourceScores], np.ndarray], against: str = ""
) -> Table:
    """Table of a value per user, or of its difference to another method: the mean over sources, and each source."""
    rows = []
    for name in results.methods:
        parts = [results.on(source, value, name, against) for source in results.sources]
        if name != against:
            spreads = [spread(part, signed=bool(against)) for part in (mean_over_sources(parts), *parts)]
            rows.append((name, *spreads))
    return Table(title, note, ("method", "mean", *results.sources), tuple(rows))


def _accuracy(results: Results) -> Table:
    first, k = results.methods[0], results.shots
    counts = [f"{len(results.of(first, source).users):,} of {source}" for source in results.sources]
    ceilings = [name for name in results.methods if results.kinds[name] in CEILINGS]
    return _by_source(
        results,
        f"Accuracy at {counted(k, 'shot')}",
        "Accuracy on pairs of people that no method was trained on, in per cent: means of the users, averaged over "
        "seeds and then over users, with 95 % intervals (bootstrap over users); the mean is over sources. Users: "
        + ", ".join(counts)
        + "."
        + (f" Ceilings that know which responses others judged: {', '.join(ceilings)}." if ceilings else ""),
        results.at(k),
    )


def _by_shots(results: Results) -> Table:
    shots = results.config.shots
    return Table(
        "Accuracy by number of shots",
        "Per cent, mean over sources. K shots: the method read K labelled pairs of the person.",
        ("method", *(counted(k, "shot") for k in shots)),
        tuple(
            (name, *(spread(results.mean(results.at(k), name)) for k in shots)) for name in results.methods
        ),
    )


def _errors(results: Results, title: str, note: str, metric: str) -> Table:
    """Table of a calibration error: the mean over sources, and each source."""
    values = {name: results.metric(name, metric) for name in results.methods}
    rows = tuple((name, *map(percent, (float(np.mean(row)), *row))) for name, row in values.items())
    return Table(title, note, ("method", "mean", *results.sources), rows)


def _controls(results: Results) -> Table:
    def gain(control: str) -> Callable[[SourceScores], np.ndarray]:
        return lambda scores: scores.gains.get(control, NONE)

    own = [lambda scores: scores.accuracy[results.shots] - scores.zero, *map(gain, CONTROLS)]
    return Table(
        f"Controls at {counted(results.shots, 'shot')}",
        "Accuracy minus that of the same method at zero shots, in points, mean over sources. Flipped labels should "
        "lose what the labels gained. Another user's context, and pairs that are dealt to users at random (shuffled "
        "users), should gain nothing: what they gain is what people share.",
        ("method", "own context", *CONTROLS),
        tuple(
            (name, *(spread(results.mean(value, name), signed=True) for value in own))
            for name in results.methods
        ),
    )


def _probabilities(results: Results) -> Table:
    def worst_tenth(name: str) -> float:
        accuracies = [results.of(name, source).accuracy[results.shots] for source in results.sources]
        return float(np.mean([worst_decile(values) for values in accuracies]))

    return Table(
        f"Probabilities and the worst-served users at {counted(results.shots, 'shot')}",
        "Means over sources. Log loss (nats) and Brier score: how good the stated probabilities are, lower is better; "
        "always saying 50 % gives 0.693 and 0.250. Worst tenth: mean accuracy of the tenth of the users with the "
        "lowest, in per cent.",
        ("method", "log loss", "Brier score", "worst tenth"),
        tuple(
            (
                name,
                f"{np.mean(results.metric(name, 'log_loss')):.3f}",
                f"{np.mean(results.metric(name, 'brier')):.3f}",
                percent(worst_tenth(name)),
            )
            for name in results.methods
        ),
    )


def _groups(results: Results, users: Sequence[User]) -> Table:
    """Table of the worst group and its gap to the best group, for sources with groups."""
    rows = []
    for source in results.sources:
        groups = [users[u].group for u in results.of(results.methods[0], source).users]
        for method in results.methods:
            worst = worst_group(results.of(method, source).accuracy[results.shots], groups)
            if worst is not None:
                mean = f"{worst.name}: {spread(worst.mean)}"
                rows.append((method, source, f"{worst.groups}", mean, percent(worst.gap)))
    return Table(
        f"Groups at {counted(results.shots, 'shot')}",
        "Of groups and languages with at least 5 users: accuracy of the worst-served one in per cent, and how many "
        "points it is behind the best.",
        ("method", "source", "groups", "worst group", "gap"),
        tuple(rows),
    )


def _costs(results: Results) -> Table:
    def number(value: float, form: str) -> str:
        return "-" if value is None or np.isnan(value) else format(value, form)

    rows = []
    for method in results.methods:
        costs = [cell["cost"] for cell in results.cells if cell["method"]["name"] == method]
        median = {name: float(np.median([cost[name] for cost in costs])) for name in costs[0]}
        rows.append(
            (
                method,
                number(median["train_seconds"], ".1f"),
                number(median["adapt_microseconds"], ".0f"),
                number(median["score_microseconds"], ".2f"),
                number(median["user_bytes"], ",.0f"),
            )
        )
    return Table(
        "Cost",
        "Medians: seconds of one meta-training, microseconds to adapt to 8 pairs and to score a candidate whose "
        "features are known, bytes of a user's state.",
        ("method", "training, s", "adapt, µs", "score, µs", "user, bytes"),
        tuple(rows),
    )
