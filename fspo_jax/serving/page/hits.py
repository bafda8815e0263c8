"""How often the model guessed a label before it was given, counted on pairs that were drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from fspo_jax.serving.stored import Label

NORMAL_95 = 1.959964


class Hits(NamedTuple):
    """Guesses of N labels.

    Attributes:
        count: N.
        own: How many the person's own reward guessed; half a hit for a guess that prefers neither.
        general: How many the reward of people in general guessed.
        low, high: Interval of the share of `own`, at 95 %.
    """

    count: int
    own: float
    general: float
    low: float
    high: float


def hits_of(labels: Sequence[Label]) -> Hits:
    """Counts the hits on labels whose pairs were drawn at random; others were chosen because they are hard to guess.

    Source: Wilson (1927), Probable inference, for the interval.

    Example:
        >>> hits_of([])
        Hits(count=0, own=0, general=0, low=0.0, high=1.0)
    """
    fair = [label.guess for label in labels if label.guess and label.guess.asked == "random"]
    own, general = (sum(map(_hit, values)) for values in ([g.own for g in fair], [g.general for g in fair]))
    return Hits(len(fair), own, general, *wilson(own, len(fair)))


def wilson(hits: float, count: int) -> tuple[float, float]:
    """An interval of a share at 95 %, from `hits` of `count`."""
    if not count:
        return 0.0, 1.0
    share, z = hits / count, NORMAL_95**2 / count
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(share * (1 - share) * z + z * z / 4) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def _hit(probability: float) -> float:
    return 0.5 if probability == 0.5 else float(probability > 0.5)
