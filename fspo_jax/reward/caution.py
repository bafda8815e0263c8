"""What to make of scores that are uncertain: a lower bound, and how probable it is that one of two is preferred."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def judged(
    user_reward: UserReward,
    prompt: Prompt,
    candidates: Sequence[str],
    *,
    caution: float = 0.0,
    certainty: float = 0.0,
    bonus: Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """What candidates are ranked by, `float32 [C]` in nats, and its uncertainty.

    Args:
        user_reward, prompt, candidates, caution, certainty: As in `fspo_jax.rerank`.
        bonus: What is added to the score of each candidate, in nats; empty for nothing.

    Raises:
        DataError, LimitError, FspoError: As `fspo_jax.rerank`.
    """
    caution, certainty = check_caution(caution), check_number(certainty, "certainty", 0.0, 1.0)

    def of(reader: UserReward) -> tuple[np.ndarray, np.ndarray]:
        scores, deviations = lower_bound(reader, prompt, candidates, caution)
        return (scores + np.array(bonus) if len(bonus) else scores), deviations

    found = of(user_reward)
    if not certainty or not len(candidates):
        return found
    general = of(user_reward.base.adapt())
    own, usual = int(found[0].argmax()), int(general[0].argmax())
    rewards, apart = user_reward.score_with_uncertainty(prompt, [candidates[own], candidates[usual]])
    better = bonus[own] - bonus[usual] if len(bonus) else 0.0
    unsure = own != usual and probability_of_first(rewards, apart, better) < certainty
    return general if unsure else found


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
