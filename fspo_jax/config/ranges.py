"""Types of the numbers in a config, each with its allowed range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

LARGEST = 2**31 - 1
"""The largest whole number of a config."""


class Range(NamedTuple):
    """The allowed range of a number.

    Attributes:
        words: The range in words, completing "must be a number ...".
        contains: Whether a finite number is in the range.
    """

    words: str
    contains: Callable[[float], bool]

    def accepts(self, value: float) -> bool:
        """Whether the number is finite and in the range."""
        return math.isfinite(value) and self.contains(value)


def _whole_from(smallest: int) -> Range:
    return Range(f"from {smallest} to {LARGEST}", lambda value: smallest <= value <= LARGEST)


Count = Annotated[int, _whole_from(1)]
"""A whole number of at least 1."""

CountFromZero = Annotated[int, _whole_from(0)]
"""A whole number of at least 0; 0 usually means none or off."""

CountFromTwo = Annotated[int, _whole_from(2)]
"""A whole number of at least 2."""

Positive = Annotated[float, Range("above 0", lambda value: value > 0)]
"""A number above 0."""

NotNegative = Annotated[float, Range("of 0 or more", lambda value: value >= 0)]
"""A number of 0 or more."""

Probability = Annotated[float, Range("from 0 to 1", lambda value: 0 <= value <= 1)]
"""A number from 0 to 1."""

ProbabilityBelowOne = Annotated[float, Range("from 0 to below 1", lambda value: 0 <= value < 1)]
"""A number from 0 to below 1: a share that is not everything."""

Share = Annotated[float, Range("above 0 and at most 1", lambda value: 0 < value <= 1)]
"""A number above 0 and at most 1: a share that is not empty."""

Noise = Annotated[float, Range("from 0 to 0.5", lambda value: 0 <= value <= 0.5)]
"""A number from 0 to 0.5: a share of labels that may be wrong."""
