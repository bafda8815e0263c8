"""Calibrates a reward's confidence: one temperature that divides all rewards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fspo_jax.errors import DataError
from fspo_jax.metrics import fit_temperature, predicted_logit
from fspo_jax.reward.engines.contract import Scoring, check_finite
from fspo_jax.types import Preference

PAIRS_PER_BATCH = 128
"""Number of pairs that are predicted at a time."""


def fitted_temperature(scoring: Scoring, people: Sequence[Sequence[Preference]]) -> float:
    """Fits the temperature that makes each pair most likely, given its owner's other pairs (leave-one-out).

    Args:
        scoring: Predicts the pairs.
        people: Labelled pairs of each person, at most as many as the limit of shots. Pairs that share a response with
            the pair to predict are left out of its context.

    Raises:
        DataError: There is no pair.
        CheckpointError: The reward of a pair is not finite.
    """
    contexts, queries = [], []
    for pairs in people:
        for pair in pairs:
            texts = {pair.chosen, pair.rejected}
            contexts.append([other for other in pairs if not texts & {other.chosen, other.rejected}])
            queries.append([pair])
    if not queries:
        raise DataError("there is no labelled pair. Provide the pairs of about 50 people.")
    logits = []
    for start in range(0, len(queries), PAIRS_PER_BATCH):
        part = slice(start, start + PAIRS_PER_BATCH)
        logits.append(predicted_logit(*scoring.margins(contexts[part], queries[part]))[:, 0])
    together = np.concatenate(logits)
    check_finite(together)
    return fit_temperature(together)
