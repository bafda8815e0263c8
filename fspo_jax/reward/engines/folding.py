"""Old pairs folded into few directions, so that a user's memory and the time of `update` stay bounded.

A pair that is folded becomes a measurement of its margin: the quadratic function with the slope and the curvature of
the pair's log likelihood at the margin that it and the pairs before it give. So little jumps when pairs are folded.
Measurements add up whatever the prior is, and their sum is kept in P directions. Each is stored as a pseudo pair and
its opposite, with weights that have the maximum and the curvature of the measurement, so a scorer needs no word about
folds.

Source: Opper (1998), A Bayesian approach to on-line learning: what is learned is approximated at each pair's turn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SMALLEST = 1e-9
MOST_MARGIN = 4.0
"""Largest margin, in nats, at which a pair is measured. Beyond it, a label says little or is likely wrong."""


class Folded(NamedTuple):
    """What is left of old pairs. P directions, R columns of a representation.

    Attributes:
        directions: `float32 [P, R]`, representation of the first response of each pseudo pair minus the second.
        weights: `float32 [P, 2]`, how much the pair counts, and its opposite.
    """

    directions: np.ndarray
    weights: np.ndarray

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The pseudo pairs and their opposites as `float32 [2 P, 2, R]`, and their weights `float32 [2 P]`."""
        pairs = np.stack([self.directions, np.zeros_like(self.directions)], axis=1)
        return np.concatenate([pairs, pairs[:, ::-1]]), self.weights.T.ravel()

    def _measurements(self) -> tuple[np.ndarray, np.ndarray]:
        """Directions `float64 [P, R]` and their measured margins `[P]`, each with variance 1."""
        first, second = np.maximum(self.weights.astype(np.float64), SMALLEST).T
        root = np.sqrt(first * second / (first + second))
        root = np.where(self.weights.sum(1) > 0, root, 0.0)
        return root[:, None] * self.directions, root * np.log(first / second)


def nothing_folded(directions: int, width: int) -> Folded:
    """Directions without weight."""
    return Folded(np.zeros((directions, width), np.float32), np.zeros((directions, 2), np.float32))


def fold(
    before: Folded,
    before_age: float,
    differences: np.ndarray,
    margins: np.ndarray,
    ages: np.ndarray,
    scales: np.ndarray,
) -> Folded:
    """Folds pairs into the directions of earlier ones.

    Kept are the directions in which the pairs say most, of what the prior leaves open. Of the others, what they
    measured and how well are lost together: without its precision, a measurement would count too much.

    Args:
        before: What was folded before, in P directions.
        before_age: Its age, in half-lives of the taste.
        differences: `float32 [K, R]`, representation of chosen minus rejected, K at least P.
        margins: `float32 [K]`, posterior means of the pairs' margins, nats.
        ages: `float64 [K]`, ages of the pairs.
        scales: `float32 [R]`, prior standard deviations of the weights; they decide which directions matter.
    """
    # Of the margin at the time of the pair, as far as today's tells it.
    at = np.clip(margins * np.exp2(-np.square(ages)), -MOST_MARGIN, MOST_MARGIN)
    right = 1.0 / (1.0 + np.exp(-at))
    before_rows, before_margins = before._measurements()
    before_ages = np.full(len(before_rows), before_age)
    parts = [
        _measured_today(before_rows, before_margins, np.ones(len(before_rows)), before_ages, scales),
        _measured_today(differences, at + 1.0 / right, 1.0 / (right * (1.0 - right)), ages, scales),
    ]
    rows, margins = (np.concatenate(part) for part in zip(*parts, strict=True))
    open_rows = rows * scales
    _, vectors = np.linalg.eigh(open_rows @ open_rows.T)
    turn = vectors[:, -len(before.directions) :].T
    rows, margins = turn @ rows, turn @ margins
    # A direction as long as a typical pair keeps the number of pairs; a margin of at most 1 keeps it quadratic.
    squares = np.square(differences * scales).sum(1)
    length = np.sqrt(squares.mean())
    norms = np.sqrt(np.square(rows * scales).sum(1))
    step = np.minimum(length / np.maximum(norms, SMALLEST), 1.0 / np.maximum(np.abs(margins), SMALLEST))
    share = 1.0 / (1.0 + np.exp(-step * margins))
    curvature = np.square(step) * share * (1.0 - share)
    both = np.where(norms > SMALLEST, 1.0 / np.maximum(curvature, SMALLEST), 0.0)
    found = step[:, None] * rows, np.stack([both * share, both * (1.0 - share)], axis=1)
    return Folded(*(part.astype(np.float32) for part in found))


def _measured_today(
    rows: np.ndarray, margins: np.ndarray, variances: np.ndarray, ages: np.ndarray, scales: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What measurements of an earlier taste say of that of today: directions and margins with variance 1.

    The part of a margin that has changed since is noise, of the variance that the prior gives it.
    """
    today = np.exp2(-np.square(ages))
    changed = (1.0 - np.square(today)) * np.square(rows * scales).sum(1)
    deviation = np.sqrt(variances + changed)
    return (today / deviation)[:, None] * rows, margins / deviation
