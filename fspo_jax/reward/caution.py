"""What to make of scores that are uncertain: a lower bound, and how probable it is that one of two is preferred."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fspo_jax.arguments import check_number
from fspo_jax.errors import FspoError
from fspo_jax.metrics import predicted
from fspo_jax.types import Prompt

if TYPE_CHECKING:
    from fspo_jax.reward.user_reward import UserReward

MOST_CAUTION = 100.0
"""Largest number of standard deviations by which a score is lowered."""


def lower_bound(
    user_reward: UserReward, prompt: Prompt, candidates: Iterable[str], caution: float
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of candidates, lowered by `caution` standard deviations of their uncertainty; and this uncertainty.

    The highest of many scores is often one that the reward is wrong about. A lower bound counts what the reward does
    not know against a candidate.

    Raises:
        DataError, LimitError: As in `UserReward.score`.
        FspoError: `caution` is above 0, and the reward knows no uncertainty.

    Source: Coste et al. (2024), Reward model ensembles help mitigate overoptimization, arXiv 2310.02743.
    """
    scores, deviations = user_reward.score_with_uncertainty(prompt, candidates)
    if not caution:
        return scores, deviations
    if np.isnan(deviations).any():
        raise FspoError(
            "caution needs the uncertainty of scores, and this reward knows none. Set caution=0, or use a reward "
            "with a posterior, such as fspo-mini."
        )
    return scores - np.float32(caution) * deviations, deviations


def check_caution(caution: Any) -> float:
    """Returns a number of standard deviations; raises `DataError` for anything else."""
    return check_number(caution, "caution", 0.0, MOST_CAUTION)


def probability_of_first(rewards: np.ndarray, deviations: np.ndarray, better: float = 0.0) -> float:
    """Probability that the first of two candidates is preferred, which is better by so many nats in other ways.

    Args:
        rewards, deviations: Of both, from `UserReward.score_with_uncertainty`. The mean of two is halfway between them,
            so the deviation of their difference is twice that of each.
    """
    variance = np.nan_to_num(4.0 * np.square(deviations[0]))
    return float(predicted(rewards[0] - rewards[1] + better, variance))
