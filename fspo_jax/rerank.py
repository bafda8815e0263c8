"""Ranking of candidate responses for one user.

`fspo_jax.rerank` is the name of this module and of its function. The package imports the function at once, so that the
name always means the function. This module therefore imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fspo_jax.arguments import check_integer, check_sequence
from fspo_jax.errors import DataError
from fspo_jax.types import Prompt, RankedCandidate

if TYPE_CHECKING:
    from fspo_jax.reward import UserReward


def rerank(
    user_reward: UserReward, prompt: Prompt, candidates: Iterable[str], top_k: int | None = None
) -> list[RankedCandidate]:
    """Ranks candidates for a user, from best to worst.

    A reward over a text encoder, such as `fspo-mini`, reads the responses and not the prompt: give it candidates that
    answer the prompt.

    Args:
        user_reward: The user's reward, from `PersonalizedReward.adapt`.
        prompt: A string or a conversation.
        candidates: Response texts, as in `UserReward.score`; may be empty. Equal scores keep their order.
        top_k: How many of the best to return; None returns all.

    Returns:
        The ranked candidates; `[]` for no candidates.

    Raises:
        DataError: As in `UserReward.score`, or `top_k` is not a positive integer, or the reward is not adapted to a
            user.
        LimitError: A text is too long.

    Example:
        >>> [line.rank for line in rerank(ana, "Why is the sky blue?", drafts)]
        [1, 2]
    """
    if top_k is not None:
        top_k = check_integer(top_k, "top_k", 1)
    check_user_reward(user_reward)
    texts = check_sequence(candidates, "candidates", "a list of strings")
    scores, deviations = user_reward.score_with_uncertainty(prompt, texts)
    order = (-scores).argsort(kind="stable")[:top_k]
    columns = (order.tolist(), scores[order].tolist(), deviations[order].tolist())
    return [
        RankedCandidate(rank, i, score, deviation, str(texts[i]))
        for rank, (i, score, deviation) in enumerate(zip(*columns, strict=True), start=1)
    ]


def check_user_reward(user_reward: Any) -> None:
    """Raises `DataError` unless it is the reward of one user, for example for a reward that all users share."""
    if not hasattr(user_reward, "score_with_uncertainty"):
        hint = " Adapt it first: reward.adapt(pairs), or reward.adapt() for people in general."
        raise DataError(
            f"user_reward must be a UserReward, not a {type(user_reward).__name__}."
            f"{hint if hasattr(user_reward, 'adapt') else ''}"
        )
