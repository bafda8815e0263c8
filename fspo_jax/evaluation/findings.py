"""Turns the log odds that methods give to every query into the rows of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fspo_jax.evaluation.report import CertaintyRow, CurveRow, GroupRow, LabelSensitivity, PairedRow
from fspo_jax.metrics import Interval, Scores, calibration, interval, probability, scores

CERTAINTIES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Least probabilities of the response that the model predicts; 0.5 is every query."""


@dataclass(frozen=True)
class Findings:
    """Predictions of all methods for the same queries.

    Attributes:
        log_odds: `[U, Q]` of each method at each number of shots, in nats.
        mask: `bool [U, Q]`, which queries are real.
        model: Name of the method that the report is about. The others are compared with it.
        seed: Seed of the bootstrap.
    """

    log_odds: Mapping[tuple[str, int], np.ndarray]
    mask: np.ndarray
    model: str
    seed: int

    @cached_property
    def scores(self) -> dict[tuple[str, int], Scores]:
        """Metrics of each method at each number of shots."""
        return {key: scores(odds, self.mask) for key, odds in self.log_odds.items()}

    @property
    def others(self) -> list[str]:
        """Names of the other methods, in order."""
        return [name for name in dict.fromkeys(name for name, _ in self.log_odds) if name != self.model]

    def curve(self) -> tuple[CurveRow, ...]:
        """Every method at every number of shots."""
        return tuple(
            CurveRow(
                name,
                shots,
                interval(found.accuracy, self.seed),
                found.log_loss,
                found.brier,
                found.calibration_error,
                found.worst_decile,
            )
            for (name, shots), found in self.scores.items()
        )

    def paired(self) -> tuple[PairedRow, ...]:
        """The model against each other method."""
        return tuple(
            PairedRow(name, shots, interval(self._gain(name, shots), self.seed))
            for name, shots in self.scores
            if name != self.model
        )

    def groups(self, labels: Sequence[str], shots: int, counted: np.ndarray) -> tuple[GroupRow, ...]:
        """Returns one row per label.

        Args:
            labels: Source or group of each of the U users.
            shots: K.
            counted: `bool [U]`, the users to average over.
        """
        rows = []
        for label in sorted(set(labels)):
            here = counted & np.array([other == label for other in labels])
            if not here.any():
                continue
            rows.append(
                GroupRow(
                    label,
                    int(here.sum()),
                    interval(self.accuracy(self.model, 0)[here], self.seed),
                    interval(self.accuracy(self.model, shots)[here], self.seed),
                    {name: interval(self.accuracy(name, shots)[here], self.seed) for name in self.others},
                    {name: interval(self._gain(name, shots)[here], self.seed) for name in self.others},
                )
            )
        return tuple(rows)

    def label_sensitivity(self, shots: int, flipped: np.ndarray) -> LabelSensitivity:
        """Whether the model reads the labels.

        Args:
            shots: K.
            flipped: `[U, Q]`, log odds of the model when the labels of the context are flipped.
        """
        zero, own, opposite = (
            np.sign(odds[self.mask])
            for odds in (self.log_odds[self.model, 0], self.log_odds[self.model, shots], flipped)
        )
        changed = own != zero
        rate = float((opposite[changed] != own[changed]).mean()) if changed.any() else float("nan")
        return LabelSensitivity(int(changed.sum()), int(self.mask.sum()), rate)

    def reliability(self, shots: int) -> tuple[tuple[float, float, float], ...]:
        """(confidence, frequency, weight) of each bin of the model."""
        bins = calibration(probability(self.log_odds[self.model, shots])[self.mask])
        return tuple(
            (float(c), float(f), float(w))
            for c, f, w in zip(bins.confidence, bins.frequency, bins.weight, strict=True)
        )

    def certainty(self, shots: int) -> tuple[CertaintyRow, ...]:
        """Accuracy of the model where it is sure, and if it keeps to everybody's order elsewhere."""
        own, general = self.log_odds[self.model, shots], self.log_odds[self.model, 0]
        rows = []
        for least in CERTAINTIES:
            sure = self.mask & (probability(np.abs(own)) >= least)
            kept = scores(np.where(sure, own, general), self.mask).accuracy
            asked = sure.any(1)
            right = scores(own[asked], sure[asked]).accuracy if asked.any() else np.zeros(0)
            rows.append(
                CertaintyRow(
                    least,
                    float(sure.sum() / self.mask.sum()),
                    interval(right, self.seed) if asked.any() else Interval(*[float("nan")] * 3),
                    interval(kept, self.seed),
                )
            )
        return tuple(rows)

    def accuracy(self, name: str, shots: int) -> np.ndarray:
        """Accuracy of each user, `[U]`."""
        return self.scores[name, shots].accuracy

    def _gain(self, name: str, shots: int) -> np.ndarray:
        return self.accuracy(self.model, shots) - self.accuracy(name, shots)
