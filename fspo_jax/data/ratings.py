"""Ratings to preferences: each rater's own scale, and pairs from what is left.

People use a scale from 1 to 100 differently. Empirical Bayes gives a rater with few ratings nearly the scale of
everybody and one with many their own: `m_u = (n mean_u + t m) / (n + t)`, likewise the deviation.

Source: Efron and Morris (1975), shrinkage; Kirk et al. (2024), PRISM, arXiv 2404.16019, for the ratings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.errors import DataError
from fspo_jax.types import Preference, Prompt

PRIOR_RATINGS = 5.0
"""Ratings that the scale of everybody counts as, `t`."""


class Rating(NamedTuple):
    """One rating of one response."""

    user_id: str
    prompt: Prompt
    response: str
    value: float


def calibrated(ratings: Sequence[Rating], prior_ratings: float = PRIOR_RATINGS) -> np.ndarray:
    """Ratings in deviations of each rater's own, shrunk scale: `float64 [N]`.

    Raises:
        DataError: There is no rating, or one is not finite.
    """
    values = np.array([rating.value for rating in ratings], np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise DataError("ratings must be finite numbers, at least one.")
    raters = {user_id: number for number, user_id in enumerate(dict.fromkeys(r.user_id for r in ratings))}
    owner = np.array([raters[rating.user_id] for rating in ratings])
    count = np.bincount(owner).astype(np.float64)
    mean = (np.bincount(owner, values) + prior_ratings * values.mean()) / (count + prior_ratings)
    squares = np.bincount(owner, np.square(values - mean[owner]))
    variance = (squares + prior_ratings * values.var()) / (count + prior_ratings)
    return (values - mean[owner]) / np.sqrt(np.maximum(variance[owner], 1e-12))


def preferences_of(ratings: Sequence[Rating], least_gap: float = 0.5) -> dict[str, list[Preference]]:
    """Pairs of responses to one prompt whose calibrated ratings by one rater differ by at least `least_gap`.

    Returns:
        Preferences by rater, the response with the higher rating chosen; in the order of the ratings.
    """
    scaled = calibrated(ratings)
    groups: dict[tuple[str, Prompt], list[int]] = {}
    for i, rating in enumerate(ratings):
        groups.setdefault((rating.user_id, rating.prompt), []).append(i)
    found: dict[str, list[Preference]] = {}
    for (user_id, prompt), members in groups.items():
        for place, i in enumerate(members):
            for j in members[place + 1 :]:
                first, second = (i, j) if scaled[i] > scaled[j] else (j, i)
                texts = ratings[first].response, ratings[second].response
                if scaled[first] - scaled[second] >= least_gap and texts[0].strip() != texts[1].strip():
                    found.setdefault(user_id, []).append(Preference(prompt, *texts))
    return found
