"""Turns ratings into preferences, after correcting for how each rater uses the scale.

People use a scale from 1 to 100 differently. By empirical Bayes, a rater with many ratings has a scale of their own,
and a rater with few ratings nearly the scale of everybody: the mean is `m_u = (n mean_u + t m) / (n + t)`, and the
standard deviation is shrunk in the same way.

Source: Efron and Morris (1975), shrinkage; Kirk et al. (2024), PRISM, arXiv 2404.16019, for the ratings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.data.limits import RATINGS_OF_ONE
from fspo_jax.errors import DataError, LimitError
from fspo_jax.types import Preference, Prompt

PRIOR_RATINGS = 5.0
"""Weight of everybody's scale, as a number of ratings: `t` above."""


class Rating(NamedTuple):
    """One rating of one response."""

    user_id: str
    prompt: Prompt
    response: str
    value: float


def calibrated(ratings: Sequence[Rating], prior_ratings: float = PRIOR_RATINGS) -> np.ndarray:
    """Returns ratings in standard deviations of each rater's own scale, `float64 [N]`.

    Raises:
        DataError: There are no ratings, or one is not finite.
    """
    values = np.array([rating.value for rating in ratings], np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise DataError("ratings must be one finite number or more.")
    raters = {user_id: number for number, user_id in enumerate(dict.fromkeys(r.user_id for r in ratings))}
    owner = np.array([raters[rating.user_id] for rating in ratings])
    count = np.bincount(owner).astype(np.float64)
    mean = (np.bincount(owner, values) + prior_ratings * values.mean()) / (count + prior_ratings)
    squares = np.bincount(owner, np.square(values - mean[owner]))
    variance = (squares + prior_ratings * values.var()) / (count + prior_ratings)
    return (values - mean[owner]) / np.sqrt(np.maximum(variance[owner], 1e-12))


def preferences_of(ratings: Sequence[Rating], least_gap: float = 0.5) -> Iterator[tuple[str, Preference]]:
    """Makes pairs of responses to one prompt whose ratings by one rater differ by at least `least_gap` deviations.

    Yields:
        A rater and a preference, in the order of the ratings. The response with the higher rating is chosen. One by
        one, because 1,000 responses to one prompt make up to half a million.

    Raises:
        LimitError: A rater has rated more than `RATINGS_OF_ONE` responses to one prompt.
    """
    scaled = calibrated(ratings) if ratings else np.zeros(0)
    groups: dict[tuple[str, Prompt], list[int]] = {}
    for i, rating in enumerate(ratings):
        groups.setdefault((rating.user_id, rating.prompt), []).append(i)
    for (user_id, _), members in groups.items():
        if len(members) > RATINGS_OF_ONE:
            raise LimitError(
                f"{f'user {user_id}' if user_id else 'the person'} has rated {len(members):,} responses to one prompt; "
                f"at most {RATINGS_OF_ONE:,} are read, because any two make a pair. Give fewer of them."
            )
    for (user_id, prompt), members in groups.items():
        values = scaled[members]
        for place, i in enumerate(members):
            gaps = values[place] - values[place + 1 :]
            for later in np.flatnonzero(np.abs(gaps) >= least_gap).tolist():
                j = members[place + 1 + later]
                first, second = (i, j) if gaps[later] > 0 else (j, i)
                texts = ratings[first].response, ratings[second].response
                if texts[0].strip() != texts[1].strip():
                    yield user_id, Preference(prompt, *texts)
