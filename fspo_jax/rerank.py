"""Ranking of candidate responses for one user.

`fspo_jax.rerank` is the name of this module and of its function. The package imports the function at once, so that the
name always means the function. This module therefore imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fspo_jax.arguments import check_integer, check_number, check_sequence
from fspo_jax.errors import DataError, counted
from fspo_jax.types import Prompt, RankedCandidate

if TYPE_CHECKING:
    from fspo_jax.reward import UserReward

MOST_QUALITY = 1e6
"""Largest size of an outside reward."""


def rerank(
    user_reward: UserReward,
    prompt: Prompt,
    candidates: Iterable[str],
    top_k: int | None = None,
    *,
    quality: Iterable[float] | None = None,
    quality_weight: float = 1.0,
    caution: float = 0.0,
    certainty: float = 0.0,
) -> list[RankedCandidate]:
    """Ranks candidates for a user, from best to worst.

    A score says how much the user likes a response. Whether the response is right, is for others to say: a reward model
    of correctness, a test run, a judge. Pass their numbers as `quality`; a candidate's score is then its reward plus
    `quality_weight` times its quality.

    Args:
        user_reward: The user's reward, from `PersonalizedReward.adapt`.
        prompt: A string or a conversation.
        candidates: Response texts, as in `UserReward.score`; may be empty. Equal scores keep their order.
        top_k: How many of the best to return; None returns all.
        quality: For each candidate a number from outside, from -1e6 to 1e6, higher is better; None for none. It should
            depend on the prompt and its candidate only, then so does the score.
        quality_weight: What one unit of quality is worth, in nats, at least 0. With 1, a candidate whose quality is
            higher by 1 is preferred e = 2.7 times as often as one that is liked as much.
        caution: How many standard deviations of its uncertainty a score is lowered by, 0 to 100.
        certainty: How sure the user's reward must be to differ from people in general, 0 to 1: the least probability
            that the user prefers its best candidate to the best one for people in general. Below it, their order and
            scores are returned. 0 never asks them. Inside a community, they are the people of the community.

    Returns:
        The ranked candidates; `[]` for no candidates.

    Raises:
        DataError: As in `UserReward.score`, or `top_k` is not a positive integer, or the reward is not adapted to a
            user, or `quality` has another length than `candidates`, or a number is out of range.
        LimitError: A text is too long.
        FspoError: `caution` is above 0 for a reward that knows no uncertainty.

    Example:
        >>> [line.rank for line in rerank(ana, "Why is the sky blue?", drafts)]
        [1, 2]
        >>> [line.index for line in rerank(ana, "Why is the sky blue?", drafts, quality=[0.0, 9.0])]
        [1, 0]
    """
    from fspo_jax.reward.caution import judged

    if top_k is not None:
        top_k = check_integer(top_k, "top_k", 1)
    check_user_reward(user_reward)
    texts = check_sequence(candidates, "candidates", "a list of strings")
    weight = check_number(quality_weight, "quality_weight", 0.0, MOST_QUALITY)
    bonus = [] if quality is None else [weight * value for value in check_quality(quality, len(texts))]
    scores, deviations = judged(user_reward, prompt, texts, caution=caution, certainty=certainty, bonus=bonus)
    order = (-scores).argsort(kind="stable")[:top_k]
    columns = (order.tolist(), scores[order].tolist(), deviations[order].tolist())
    return [
        RankedCandidate(rank, i, score, deviation, str(texts[i]))
        for rank, (i, score, deviation) in enumerate(zip(*columns, strict=True), start=1)
    ]


def check_quality(quality: Any, candidates: int, name: str = "quality") -> list[float]:
    """Returns one number for each candidate; raises `DataError` for anything else."""
    values = check_sequence(quality, name, "a list of numbers")
    if len(values) != candidates:
        raise DataError(
            f"{name} has {counted(len(values), 'number')} for {counted(candidates, 'candidate')}. Give one number for "
            "each candidate, in their order."
        )
    return [
        check_number(value, f"{name}[{i}]", -MOST_QUALITY, MOST_QUALITY) for i, value in enumerate(values)
    ]


def check_user_reward(user_reward: Any) -> None:
    """Raises `DataError` unless it is the reward of one user, for example for a reward that all users share."""
    if not hasattr(user_reward, "score_with_uncertainty"):
        hint = " Adapt it first: reward.adapt(pairs), or reward.adapt() for people in general."
        raise DataError(
            f"user_reward must be a UserReward, not a {type(user_reward).__name__}."
            f"{hint if hasattr(user_reward, 'adapt') else ''}"
        )
