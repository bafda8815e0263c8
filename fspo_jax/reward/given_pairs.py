"""Checks of the labelled pairs that are given for one user or for many, of how many there are, and of their times."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fspo_jax.arguments import check_number, check_sequence
from fspo_jax.errors import DataError, LimitError
from fspo_jax.reward.engines.contract import SHORTEST_HALF_LIFE, Scoring
from fspo_jax.reward.engines.distinct_pairs import distinct, pair_digest
from fspo_jax.types import Preference, check_preferences

MOST_DAYS = 1e9


def distinct_pairs(
    preferences: Iterable[Preference], days: Iterable[float] | None
) -> tuple[list[Preference], list[float]]:
    """Returns the pairs without repetitions, and the days of those, if there are days; then the oldest come first.

    Raises:
        DataError: They are no list of `Preference`, or not one finite number of days for each.
    """
    pairs = check_preferences(preferences, "preferences")
    if days is None:
        return distinct(pairs), []
    given = check_sequence(days, "days", "a list with one number for each pair")
    when = [check_number(day, f"days[{i}]", -MOST_DAYS, MOST_DAYS) for i, day in enumerate(given)]
    if len(when) != len(pairs):
        raise DataError(
            f"there are {len(pairs)} preferences, but {len(when)} days. Give one day for each pair."
        )
    latest = {}
    for i in sorted(range(len(pairs)), key=when.__getitem__):
        latest[pair_digest(pairs[i])] = i
    places = sorted(sorted(latest.values()), key=when.__getitem__)
    return [pairs[i] for i in places], [when[i] for i in places]


def check_people(people: Iterable[Iterable[Preference]], name: str) -> list[list[Preference]]:
    """Returns one list of preferences per person; raises `DataError` for anything else."""
    lists = check_sequence(people, name, "a list with one list of Preference per person")
    return [check_preferences(pairs, f"{name}[{i}]") for i, pairs in enumerate(lists)]


def distinct_contexts(
    people: Iterable[Iterable[Preference]], name: str, limit: int
) -> list[list[Preference]]:
    """Returns each person's pairs without repetitions; raises as `check_people` and `check_limit`."""
    contexts = [distinct(pairs) for pairs in check_people(people, name)]
    for context in contexts:
        check_limit(len(context), limit)
    return contexts


def check_half_life(half_life: float | None) -> float:
    """Returns a half-life as a number, infinity for None; raises `DataError` unless it is one."""
    return math.inf if half_life is None else check_number(half_life, "half_life", SHORTEST_HALF_LIFE)


def check_days_have_a_half_life(half_life: float) -> None:
    """Raises `DataError` if days are given without a half-life."""
    if half_life == math.inf:
        raise DataError(
            "days are given without a half-life. Pass adapt(..., half_life=...) in days, or leave days out."
        )


def check_shots(scoring: Scoring, shots: int) -> None:
    """Raises `LimitError` if a user has more pairs than the reward reads."""
    if not scoring.weighs_pairs:
        check_limit(shots, scoring.config.episodes.max_context)


def check_limit(shots: int, limit: int) -> None:
    """Raises `LimitError` if a context has more pairs than the reward can read."""
    if shots > limit:
        raise LimitError(
            f"context has {shots} preferences; this checkpoint was meta-trained with at most {limit}. Pass the "
            f"{limit} most recent, or load a checkpoint with a larger limit."
        )
