"""The results of a benchmark for each method on each source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fspo_jax.config import BenchmarkConfig
from fspo_jax.evaluation.baselines import CEILINGS, SAME_FOR_EVERYBODY
from fspo_jax.evaluation.communities import OTHER_TEXTS
from fspo_jax.evaluation.controls import ZERO_SHOTS
from fspo_jax.metrics import Interval, interval

METRICS = ("log_loss", "brier", "calibration_error", "calibrated_error")

Cell = dict[str, Any]


class CommunityScores(NamedTuple):
    """One method on one source inside communities, averaged over seeds.

    Attributes:
        accuracy: `[U]` for each number of shots.
        calibration: Expected calibration error for each number of shots.
        own_minus_other: Accuracy with the user's own pairs minus that with another person's, at the main number of
            shots, of the users who have such another person.
        people, pairs: Mean size of the communities.
    """

    accuracy: dict[int, np.ndarray]
    calibration: dict[int, float]
    own_minus_other: np.ndarray
    people: float
    pairs: float


class SourceScores(NamedTuple):
    """One method on one source, averaged over seeds.

    Attributes:
        users: `int [U]`, numbers of the users.
        accuracy: `[U]` for each number of shots.
        zero: `[U]`, accuracy at zero shots.
        gains: For each control, its accuracy minus `zero`, of the users for whom the control exists.
        means: Other metrics, by shots and name.
        communities: Scores inside communities, by number of people and kind of texts; empty if there were none.
    """

    users: np.ndarray
    accuracy: dict[int, np.ndarray]
    zero: np.ndarray
    gains: dict[str, np.ndarray]
    means: dict[tuple[int, str], float]
    communities: dict[tuple[int, str], CommunityScores]


class Results:
    """The cells of a benchmark, by method and source."""

    def __init__(self, config: BenchmarkConfig, cells: Sequence[Cell]):
        self.config = config
        self.methods = [method.name for method in config.methods]
        self.sources = list(dict.fromkeys(name for cell in cells for name in cell["sources"]))
        self.kinds = {method.name: method.model.kind for method in config.methods}
        self.cells = cells
        self.shots = config.headline_shots
        synthetic = {source.name for source in config.data.sources if source.kind != "preferences"}
        self.real = [name for name in self.sources if name not in synthetic] or self.sources
        self._scores: dict[tuple[str, str], SourceScores] = {}
        for method in self.methods:
            for source in self.sources:
                found = [
                    cell["sources"][source]
                    for cell in cells
                    if cell["method"]["name"] == method and source in cell["sources"]
                ]
                self._scores[method, source] = _averaged(found, config.shots)

    def of(self, method: str, source: str) -> SourceScores:
        """Returns the scores of a method on a source."""
        return self._scores[method, source]

    def on(
        self, source: str, value: Callable[[SourceScores], np.ndarray], method: str, against: str = ""
    ) -> Interval:
        """Mean over users of a value, or of its difference to another method."""
        values = value(self.of(method, source))
        return interval(values - value(self.of(against, source)) if against else values)

    def mean(self, value: Callable[[SourceScores], np.ndarray], method: str) -> Interval:
        """Mean over sources of a value per user, with an interval. Sources without such users are left out."""
        known = [s for s in self.sources if len(value(self.of(method, s)))]
        return mean_over_sources([self.on(source, value, method) for source in known])

    def inside(self, method: str, source: str, people: int, texts: str) -> CommunityScores:
        """Scores in communities; of a method that uses none, its scores without a community."""
        found = self.of(method, source).communities
        return found.get((people, texts), found[0, OTHER_TEXTS])

    def uses_communities(self, method: str) -> bool:
        """Whether a method makes anything of a community."""
        return any(people for source in self.sources for people, _ in self.of(method, source).communities)

    def ranked(self) -> list[str]:
        """Returns the methods, sorted by mean accuracy; ceilings only if there is nothing else."""
        return sorted(
            [name for name in self.methods if self.kinds[name] not in CEILINGS] or self.methods,
            key=lambda name: -self.mean(self.at(self.shots), name).mean,
        )

    def best_for_everybody(self) -> str | None:
        """Returns the best method that does not depend on the person."""
        names = [name for name in self.methods if self.kinds[name] in SAME_FOR_EVERYBODY]
        return max(names, key=lambda name: self.mean(self.at(self.shots), name).mean, default=None)

    def at(self, shots: int) -> Callable[[SourceScores], np.ndarray]:
        """Returns a function that picks the accuracies at a number of shots."""
        return lambda scores: scores.accuracy[shots]

    def metric(self, method: str, name: str) -> list[float]:
        """Returns one of `METRICS` at the main number of shots, for each source."""
        return [self.of(method, source).means[self.shots, name] for source in self.sources]


def mean_over_sources(parts: Sequence[Interval]) -> Interval:
    """Mean of independent means. The squares of half widths add up. NaN for no sources."""
    if not parts:
        return Interval(float("nan"), float("nan"), float("nan"))
    mean = float(np.mean([part.mean for part in parts]))
    half = float(np.sqrt(np.sum([((part.high - part.low) / 2) ** 2 for part in parts])) / len(parts))
    return Interval(mean, mean - half, mean + half)


def _averaged(found: Sequence[Cell], shots: Sequence[int]) -> SourceScores:
    def over_seeds(value: Callable[[Cell], Any]) -> np.ndarray:
        return np.mean([np.asarray(value(cell), np.float64) for cell in found], axis=0)

    return SourceScores(
        np.asarray(found[0]["users"]),
        {k: over_seeds(lambda cell, k=k: cell["shots"][str(k)]["accuracy"]) for k in shots},
        over_seeds(lambda cell: cell["controls"][ZERO_SHOTS]["accuracy"]),
        {
            name: over_seeds(lambda cell, name=name: cell["controls"][name]["gain"])
            for name in found[0]["controls"]
        },
        {
            (k, name): float(over_seeds(lambda cell, k=k, name=name: cell["shots"][str(k)][name]))
            for k in shots
            for name in METRICS
        },
        _communities(found, shots),
    )


def _communities(found: Sequence[Cell], shots: Sequence[int]) -> dict[tuple[int, str], CommunityScores]:
    """The records of all seeds have the same order."""

    def averaged(records: Sequence[Any]) -> CommunityScores:
        def over_seeds(value: Callable[[Any], Any]) -> np.ndarray:
            return np.mean([np.asarray(value(record), np.float64) for record in records], axis=0)

        return CommunityScores(
            {k: over_seeds(lambda one, k=k: one["shots"][str(k)]["accuracy"]) for k in shots},
            {k: float(over_seeds(lambda one, k=k: one["shots"][str(k)]["calibration_error"])) for k in shots},
            over_seeds(lambda one: one["own_minus_other"]),
            records[0].get("known_people", 0.0),
            records[0].get("known_pairs", 0.0),
        )

    of_seeds = zip(*(cell.get("communities", ()) for cell in found), strict=True)
    return {(records[0]["people"], records[0]["texts"]): averaged(records) for records in of_seeds}
