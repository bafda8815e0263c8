"""Tables of a benchmark inside communities: G people of the same source, K pairs of the person."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fspo_jax.benchmark.results import CommunityScores, Results, mean_over_sources
from fspo_jax.errors import counted
from fspo_jax.evaluation.communities import KINDS, OTHER_TEXTS, SAME_TEXTS
from fspo_jax.evaluation.render import Table, percent, spread
from fspo_jax.metrics import Interval, interval, worst_group
from fspo_jax.types import User

MAIN_PEOPLE = 20
"""The main number of people is the largest up to this one."""

SMALLEST_GROUP = 5

IN_WORDS = {
    OTHER_TEXTS: "whose pairs share no text with the queries",
    SAME_TEXTS: "whose pairs may hold the same texts as the queries, as in a survey",
}
ALONE = "*"
ALONE_NOTE = f" {ALONE}: uses no community; its accuracy without one is shown."

Value = Callable[[CommunityScores], np.ndarray]


def community_tables(results: Results, users: Sequence[User]) -> list[Table]:
    """Returns all tables about communities, in order."""
    return [
        *(_accuracy(results, kind) for kind in KINDS),
        *(_differences(results, kind) for kind in KINDS),
        *(_by_source(results, kind) for kind in KINDS),
        *(_gains(results, kind) for kind in KINDS),
        *(_calibration(results, kind) for kind in KINDS),
        _own_minus_other(results),
        _groups(results, users),
        _sizes(results),
    ]


def _people(results: Results) -> list[int]:
    return sorted({0, *results.config.communities})


def _main(results: Results) -> int:
    return max((count for count in _people(results) if count <= MAIN_PEOPLE), default=0)


def _shown(results: Results, method: str) -> str:
    return method if results.uses_communities(method) else method + ALONE


def _columns(results: Results) -> list[tuple[int, int]]:
    return [(people, shots) for people in _people(results) for shots in results.config.shots]


def _titles(results: Results) -> list[str]:
    return [
        f"{counted(people, 'person', 'people')}, {counted(shots, 'pair')}"
        for people, shots in _columns(results)
    ]


def _accuracy(results: Results, kind: str) -> Table:
    def mean(method: str, people: int, shots: int) -> Interval:
        return mean_over_sources(
            [interval(results.inside(method, s, people, kind).accuracy[shots]) for s in results.real]
        )

    return Table(
        f"Accuracy in a community: {kind}",
        f"Per cent, mean over {_studies(results)}, with 95 % intervals over users. People: other people of the source, "
        f"up to {counted(results.config.community_pairs, 'pair')} each, {IN_WORDS[kind]}. Pairs: the person's own."
        + ALONE_NOTE,
        ("method", *_titles(results)),
        tuple(
            (_shown(results, name), *(spread(mean(name, *column)) for column in _columns(results)))
            for name in results.methods
        ),
    )


def _differences(results: Results, kind: str) -> Table:
    people, shots = _main(results), results.shots

    def accuracy(method: str, source: str, people: int, shots: int) -> np.ndarray:
        return results.inside(method, source, people, kind).accuracy[shots]

    def total(method: str) -> float:
        return float(np.mean([accuracy(method, s, people, shots).mean() for s in results.real]))

    best = max(results.methods, key=total)

    def difference(method: str, *column: int) -> Interval:
        parts = [accuracy(method, s, *column) - accuracy(best, s, *column) for s in results.real]
        return mean_over_sources([interval(part) for part in parts])

    return Table(
        f"Difference to '{best}' in a community: {kind}",
        f"Points, paired by user, mean over {_studies(results)}: below zero '{best}' is ahead." + ALONE_NOTE,
        ("method", *_titles(results)),
        tuple(
            (
                _shown(results, name),
                *(spread(difference(name, *column), signed=True) for column in _columns(results)),
            )
            for name in results.methods
            if name != best
        ),
    )


def _rows_by_source(results: Results, kind: str, people: int, value: Value, signed: bool) -> Table:
    rows = []
    for name in results.methods:
        parts = [interval(value(results.inside(name, s, people, kind))) for s in results.sources]
        real = [part for part, s in zip(parts, results.sources, strict=True) if s in results.real]
        real = [part for part in real if not np.isnan(part.mean)]
        row = [spread(part, signed=signed) for part in (mean_over_sources(real), *parts)]
        rows.append((_shown(results, name), *row))
    return Table("", "", ("method", f"mean of {_studies(results)}", *results.sources), tuple(rows))


def _by_source(results: Results, kind: str) -> Table:
    people, shots = _main(results), results.shots
    table = _rows_by_source(results, kind, people, lambda found: found.accuracy[shots], signed=False)
    return table._replace(
        title=f"Accuracy with {counted(people, 'person', 'people')} and {counted(shots, 'pair')}: {kind}",
        note="Per cent, with 95 % intervals over users." + ALONE_NOTE,
    )


def _gains(results: Results, kind: str) -> Table:
    people, shots = _main(results), results.shots
    rows = []
    for name in filter(results.uses_communities, results.methods):
        gains = [
            interval(
                results.inside(name, s, people, kind).accuracy[shots]
                - results.inside(name, s, 0, kind).accuracy[shots]
            )
            for s in results.sources
        ]
        real = [part for part, s in zip(gains, results.sources, strict=True) if s in results.real]
        rows.append((name, *(spread(part, signed=True) for part in (mean_over_sources(real), *gains))))
    return Table(
        f"What {counted(people, 'person', 'people')} add to {counted(shots, 'pair')}: {kind}",
        "Points, paired by user: accuracy in the community minus that of the same method without one.",
        ("method", f"mean of {_studies(results)}", *results.sources),
        tuple(rows),
    )


def _calibration(results: Results, kind: str) -> Table:
    def mean(method: str, people: int, shots: int) -> float:
        return float(
            np.mean([results.inside(method, s, people, kind).calibration[shots] for s in results.real])
        )

    return Table(
        f"Calibration error in a community: {kind}",
        f"Expected calibration error in per cent, no temperature fitted, mean over {_studies(results)}."
        + ALONE_NOTE,
        ("method", *_titles(results)),
        tuple(
            (_shown(results, name), *(percent(mean(name, *column)) for column in _columns(results)))
            for name in results.methods
        ),
    )


def _own_minus_other(results: Results) -> Table:
    rows = []
    for people in _people(results):
        table = _rows_by_source(
            results, OTHER_TEXTS, people, lambda found: found.own_minus_other, signed=True
        )
        rows += [(row[0], str(people), *row[1:]) for row in table.rows if people == 0 or ALONE not in row[0]]
    return Table(
        f"Own pairs against another person's at {counted(results.shots, 'pair')}",
        "Points, paired by user: accuracy with the person's own pairs minus accuracy with as many pairs of another "
        "person of the source, who is not in the community. Above zero, what helps is this person's taste. Neither the "
        "other person's nor the community's pairs share a text with the queries.",
        ("method", "people", f"mean of {_studies(results)}", *results.sources),
        tuple(rows),
    )


def _groups(results: Results, users: Sequence[User]) -> Table:
    people, shots = _main(results), results.shots
    rows = []
    for source in results.sources:
        groups = [users[u].group for u in results.of(results.methods[0], source).users]
        for method in filter(results.uses_communities, results.methods):
            before, after = (
                results.inside(method, source, count, OTHER_TEXTS).accuracy for count in (0, people)
            )
            worst = [worst_group(values[shots], groups) for values in (before, after)]
            shown = [
                text for one in worst if one for text in (f"{one.name}: {spread(one.mean)}", percent(one.gap))
            ]
            if shown:
                lowest = _lowest(after[shots] - results.of(method, source).zero, groups)
                rows.append((method, source, *shown, lowest))
    return Table(
        f"Groups before and after a community of {counted(people, 'person', 'people')} at {counted(shots, 'pair')}",
        f"Of groups with at least {SMALLEST_GROUP} users: accuracy of the worst-served one in per cent, and how many "
        "points it is behind the best; without a community, then with one whose pairs share no text with the queries. "
        "Last: the group that gains least over zero shots without a community.",
        ("method", "source", "worst before", "gap before", "worst after", "gap after", "least gain"),
        tuple(rows),
    )


def _lowest(gains: np.ndarray, groups: Sequence[str]) -> str:
    of_user = np.array(groups)
    parts = {
        name: interval(gains[of_user == name])
        for name in dict.fromkeys(groups)
        if name and (of_user == name).sum() >= SMALLEST_GROUP
    }
    name = min(parts, key=lambda one: parts[one].mean)
    return f"{name}: {spread(parts[name], signed=True)}"


def _sizes(results: Results) -> Table:
    using = [name for name in results.methods if results.uses_communities(name)]
    asked = [(people, kind) for people in _people(results) if people for kind in KINDS]
    rows = []
    for source in results.sources if using else ():
        found = [results.inside(using[0], source, *one) for one in asked]
        rows.append((source, *(f"{one.people:.1f} people, {one.pairs:.0f} pairs" for one in found)))
    return Table(
        "Size of the communities",
        "Means over users. A study of few people gives whom it has: everybody but the person and the one other person "
        "whose pairs are the control.",
        ("source", *(f"{people} asked, {kind}" for people, kind in asked)),
        tuple(rows),
    )


def _studies(results: Results) -> str:
    kind = "study", "studies"
    return counted(len(results.real), *kind) + ("" if results.real == results.sources else " of real people")
