"""Why a person's reward ranks as it does, for people and assistants: a few reasons in words and numbers."""

from __future__ import annotations

from typing import NamedTuple

from fspo_jax.errors import FspoError
from fspo_jax.reward import UserReward
from fspo_jax.reward.explaining import Belief, Explanation
from fspo_jax.serving.service import Service
from fspo_jax.serving.stored import Label
from fspo_jax.types import Prompt

MOST_REASONS = 3
SMALLEST_REASON = 0.02
"""Nats below which a part of a score is not told."""


class Part(NamedTuple):
    """What a quality of style moves a score by, beside the mean of the candidates.

    Attributes:
        words: The quality.
        more: Whether the candidate has more of it than the candidates' mean; else it has less.
        nats: By how much it moves the score.
    """

    words: str
    more: bool
    nats: float


class Pull(NamedTuple):
    """What a label moves a score by, in nats, beside the mean of the candidates."""

    label: Label
    nats: float


class Reasoned(NamedTuple):
    """A ranked candidate with its reasons.

    Attributes:
        text: The candidate.
        above: Its score minus the candidates' mean score, in nats.
        deviation: Of `above`; NaN for a reward without uncertainty.
        parts, pulls: The largest ones, at most `MOST_REASONS` of each.
    """

    text: str
    above: float
    deviation: float
    parts: list[Part]
    pulls: list[Pull]


def reasoned(service: Service, user: str, prompt: Prompt, texts: list[str]) -> list[Reasoned]:
    """The candidates in a person's order, each with what moved it there.

    Raises:
        DataError, LimitError: As `UserReward.explain`.
    """
    derived = service.reward_of(user)
    labels = {label.id: label for label in service.users.labels(user)[1]}
    explained = derived.reward.explain(prompt, texts)
    _, deviations = derived.reward.score_with_uncertainty(prompt, texts)
    known = beliefs_in_words(derived.reward)
    lines = []
    for found, deviation in zip(explained, deviations.tolist(), strict=True):
        pulls = [
            Pull(labels[label], pull)
            for label, pull in zip(derived.labels, found.pulls, strict=True)
            if label in labels and abs(pull) >= SMALLEST_REASON  # also leaves out NaN
        ]
        pulls.sort(key=lambda pull: -abs(pull.nats))
        parts = parts_of(found, known)
        lines.append(Reasoned(found.text, found.above_mean, deviation, parts, pulls[:MOST_REASONS]))
    return sorted(lines, key=lambda line: -line.above)


def parts_of(found: Explanation, known: list[Belief]) -> list[Part]:
    """The largest parts of a score that have words."""
    parts = []
    for one in known:
        nats = found.columns.get(one.block, {}).get(one.column, 0.0)
        if abs(nats) >= SMALLEST_REASON:
            parts.append(Part(one.words, nats * one.effect > 0, nats))
    return sorted(parts, key=lambda part: -abs(part.nats))[:MOST_REASONS]


def beliefs_in_words(reward: UserReward) -> list[Belief]:
    """What a reward believes, all else being equal; nothing for one that has no words for it."""
    try:
        return reward.beliefs()
    except FspoError:
        return []


def beliefs_over(service: Service, reward: UserReward) -> list[Belief]:
    """What a reward believes, as the responses of the service's pool differ.

    Raises:
        FspoError: The reward has no words for what it believes.
    """
    return reward.beliefs(list(service.pool.pairs.values()))
