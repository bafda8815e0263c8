"""The tables of a benchmark, as Markdown and as one HTML page."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fspo_jax.config import BenchmarkConfig
from fspo_jax.evaluation.tables import Table, percent, spread
from fspo_jax.evaluation.writers import html_page, markdown_page, write_files
from fspo_jax.metrics import Interval, interval, worst_decile
from fspo_jax.types import User

TITLE = "Personalised reward methods on the same features, users and splits"
IMPERSONAL = ("population", "length")
CEILINGS = ("item_identity", "majority", "bayes_optimal")

Cell = dict[str, Any]


class Scores(NamedTuple):
    """One method on one source, averaged over seeds.

    Attributes:
        users: Numbers of the users, `int [U]`.
        accuracy: `[U]` by shots.
        flipped, stranger: `[U]`, controls.
        means: Metrics that are no means over users' accuracies, by shots and name.
    """

    users: np.ndarray
    accuracy: dict[int, np.ndarray]
    flipped: np.ndarray
    stranger: np.ndarray
    means: dict[tuple[int, str], float]


class Results:
    """The cells of a benchmark by method and source."""

    def __init__(self, config: BenchmarkConfig, cells: Sequence[Cell]):
        self.config = config
        self.methods = [method.name for method in config.methods]
        self.sources = list(dict.fromkeys(name for cell in cells for name in cell["sources"]))
        self.kinds = {method.name: method.model.kind for method in config.methods}
        self.cells = cells
        self.shots = config.headline_shots
        self._scores: dict[tuple[str, str], Scores] = {}
        for method in self.methods:
            for source in self.sources:
                found = [
                    cell["sources"][source]
                    for cell in cells
                    if cell["method"]["name"] == method and source in cell["sources"]
                ]
                self._scores[method, source] = _averaged(found, config.shots)

    def of(self, method: str, source: str) -> Scores:
        """Scores of a method on a source."""
        return self._scores[method, source]

    def on(
        self, source: str, value: Callable[[Scores], np.ndarray], method: str, against: str = ""
    ) -> Interval:
        """Mean over users of a value, or of its difference to another method's."""
        values = value(self.of(method, source))
        return interval(values - value(self.of(against, source)) if against else values)

    def mean(self, value: Callable[[Scores], np.ndarray], method: str) -> Interval:
        """Mean over sources of a value by user; interval over users. A source whose users all lack it is left out."""
        known = [s for s in self.sources if not np.isnan(value(self.of(method, s))).all()]
        return _over_sources([self.on(source, value, method) for source in known])

    def ranked(self) -> list[str]:
        """The methods, the best in the mean first; ceilings only where there is nothing else."""
        return sorted(
            [name for name in self.methods if self.kinds[name] not in CEILINGS] or self.methods,
            key=lambda name: -self.mean(self.at(self.shots), name).mean,
        )

    def best_impersonal(self) -> str | None:
        """The best method that is the same for everybody."""
        names = [name for name in self.methods if self.kinds[name] in IMPERSONAL]
        return max(names, key=lambda name: self.mean(self.at(self.shots), name).mean, default=None)

    def at(self, shots: int) -> Callable[[Scores], np.ndarray]:
        """Picks the accuracies at some shots."""
        return lambda scores: scores.accuracy[shots]


def tables(results: Results, users: Sequence[User]) -> list[Table]:
    """All tables; those without rows are left out."""
    names, sources, k = results.methods, results.sources, results.shots
    counts = {source: len(results.of(names[0], source).users) for source in sources}
    reference, best = results.best_impersonal(), results.ranked()[0]

    def by_source(title: str, note: str, value: Callable[[Scores], np.ndarray], against: str = "") -> Table:
        """A value by user, or its difference to another method's: its mean over sources, and each source."""
        rows = []
        for name in names:
            parts = [results.on(source, value, name, against) for source in sources]
            if name != against:
                spreads = [spread(part, signed=bool(against)) for part in (_over_sources(parts), *parts)]
                rows.append((name, *spreads))
        return Table(title, note, ("method", "mean", *sources), tuple(rows))

    found = [
        by_source(
            f"Accuracy at {k} shots",
            "Per cent: users' means, averaged over seeds and then over users, with 95 % bootstrap intervals over "
            "users; the mean is over sources. Users: "
            + ", ".join(f"{count:,} of {source}" for source, count in counts.items())
            + "."
            + _ceiling_note(results),
            results.at(k),
        ),
        Table(
            "Accuracy by number of shots",
            "Per cent, mean over sources.",
            ("method", *(f"{shots} shots" for shots in results.config.shots)),
            tuple(
                (name, *(spread(results.mean(results.at(shots), name)) for shots in results.config.shots))
                for name in names
            ),
        ),
    ]
    if reference is not None:
        note = "Points, paired by user, against the best method that is the same for everybody."
        found.append(by_source(f"Difference to '{reference}' at {k} shots", note, results.at(k), reference))
    if best != reference:
        note = "Points, paired by user, against the best method in the mean: below zero it is ahead."
        found.append(by_source(f"Difference to '{best}' at {k} shots", note, results.at(k), best))
    if 0 in results.config.shots:
        note = "Per cent; what a method believes of everybody, before the first label."
        found.append(by_source("Accuracy at zero shots", note, results.at(0)))

    def errors(title: str, note: str, metric: str) -> Table:
        """A calibration error: its mean over sources, and each source."""
        values = {name: [results.of(name, source).means[k, metric] for source in sources] for name in names}
        rows = tuple((name, *map(percent, (float(np.mean(row)), *row))) for name, row in values.items())
        return Table(title, note, ("method", "mean", *sources), rows)

    found += [
        errors(
            f"Calibration error at {k} shots",
            "Expected calibration error in per cent, over all queries of a source; few queries have a large one by "
            "chance.",
            "ece",
        ),
        errors(
            f"Calibration error at {k} shots, calibrated on the people's own pairs",
            "The same after temperature scaling: one temperature a source, under which each context pair of the judged "
            "people is most likely given its owner's others (leave-one-out). No query is read for it.",
            "calibrated_ece",
        ),
        Table(
            f"Controls at {k} shots",
            "Points against the method's own zero shots, mean over sources: flipped labels should lose what the labels "
            "gained, another user's context should gain nothing.",
            ("method", "own context", "flipped labels", "another user's context"),
            tuple(
                (
                    name,
                    *(
                        spread(
                            results.mean(lambda s, value=value: value(s) - s.accuracy[0], name), signed=True
                        )
                        for value in (results.at(k), lambda s: s.flipped, lambda s: s.stranger)
                    ),
                )
                for name in names
                if 0 in results.config.shots
            ),
        ),
        Table(
            f"Probabilities and the worst-served users at {k} shots",
            "Means over sources: log loss in nats, Brier score, and accuracy of the worst tenth of users in per cent.",
            ("method", "log loss", "Brier", "worst tenth"),
            tuple(
                (
                    name,
                    f"{_mean_of(results, name, 'log_loss'):.3f}",
                    f"{_mean_of(results, name, 'brier'):.3f}",
                    percent(float(np.mean([worst_decile(results.of(name, s).accuracy[k]) for s in sources]))),
                )
                for name in names
            ),
        ),
        _groups(results, users),
        _costs(results),
    ]
    return [table for table in found if table.rows]


def write_benchmark_report(
    config: BenchmarkConfig, cells: Sequence[Cell], users: Sequence[User], directory: str | Path
) -> dict[str, Path]:
    """Writes `report.md` and `report.html`; raises `DataError` if they cannot be written."""
    results = Results(config, cells)
    made = tables(results, users)
    held_out = "people" if config.hold_out == "users" else "whole studies, one at a time"
    ranked = results.ranked()
    lead = (
        f"Held out: {held_out}. Best at {results.shots} shots, mean over {len(results.sources)} sources: {ranked[0]} "
        f"with {spread(results.mean(results.at(results.shots), ranked[0]))} %."
    )
    from fspo_jax import __version__

    facts = (
        f"{config.seeds} training seed{'s' if config.seeds > 1 else ''}, {config.steps:,} steps,"
        f" {len(config.trials)} settings tried by every trained "
        f"method on meta-validation users; fspo_jax {__version__}, jax {jax.__version__}, Python "
        f"{platform.python_version()}, {jax.devices()[0].device_kind}."
    )
    return write_files(
        Path(directory),
        {
            "report.md": lambda path: path.write_text(
                markdown_page(TITLE, lead, made, facts), encoding="utf-8"
            ),
            "report.html": lambda path: path.write_text(
                html_page(TITLE, lead, made, facts, emphasis=ranked[:1]), encoding="utf-8"
            ),
        },
    )


def _averaged(found: Sequence[Cell], shots: Sequence[int]) -> Scores:
    def over_seeds(value: Callable[[Cell], Any]) -> np.ndarray:
        return np.mean([np.asarray(value(cell), np.float64) for cell in found], axis=0)

    by_shots = {k: over_seeds(lambda cell, k=k: cell["shots"][str(k)]["accuracy"]) for k in shots}
    means = {
        (k, name): float(over_seeds(lambda cell, k=k, name=name: cell["shots"][str(k)][name]))
        for k in shots
        for name in ("log_loss", "brier", "ece", "calibrated_ece")
    }
    return Scores(
        np.asarray(found[0]["users"]),
        by_shots,
        over_seeds(lambda cell: cell["flipped"]),
        over_seeds(lambda cell: cell["stranger"]),
        means,
    )


def _over_sources(parts: Sequence[Interval]) -> Interval:
    """Mean of independent means; half widths add in squares."""
    mean = float(np.mean([part.mean for part in parts]))
    half = float(np.sqrt(np.sum([((part.high - part.low) / 2) ** 2 for part in parts])) / len(parts))
    return Interval(mean, mean - half, mean + half)


def _mean_of(results: Results, method: str, name: str) -> float:
    return float(np.mean([results.of(method, s).means[results.shots, name] for s in results.sources]))


def _ceiling_note(results: Results) -> str:
    names = [name for name in results.methods if results.kinds[name] in CEILINGS]
    return f" Ceilings that know which responses others judged: {', '.join(names)}." if names else ""


def _groups(results: Results, users: Sequence[User]) -> Table:
    """Worst group and gap between the best and the worst, for sources that know groups."""
    rows = []
    k = results.shots
    for source in results.sources:
        group = np.array([users[u].group for u in results.of(results.methods[0], source).users])
        names = [name for name in np.unique(group) if name and (group == name).sum() >= 5]
        if len(names) < 2:
            continue
        for method in results.methods:
            accuracy = results.of(method, source).accuracy[k]
            means = {name: float(accuracy[group == name].mean()) for name in names}
            worst = min(means, key=means.__getitem__)
            rows.append(
                (
                    method,
                    source,
                    f"{len(names)}",
                    f"{worst}: {spread(interval(accuracy[group == worst]))}",
                    percent(max(means.values()) - means[worst]),
                )
            )
    return Table(
        f"Groups at {k} shots",
        "Groups and languages with at least 5 users: the worst-served one, and the gap to the best in points.",
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
        "features are there, bytes of a user's state.",
        ("method", "training, s", "adapt, µs", "score, µs", "user, bytes"),
        tuple(rows),
    )
