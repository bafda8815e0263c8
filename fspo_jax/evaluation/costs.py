"""What a user costs: the time to read their pairs and score pairs for them, and the bytes that are kept of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.predict import Context, TextMargins, texts_of
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import Preference, User

USERS = 5
"""Number of users of whom the median is taken. Some more come before, for whom programs are compiled."""

WARM_UP = 3


class Cost(NamedTuple):
    """What a user costs.

    Attributes:
        seconds: Wall time to read the pairs of a new user and to score both responses of each query, one user at a
            time, texts that were read before included.
        nbytes: What a saved user holds; None for a method that keeps nothing of a user.
    """

    seconds: float
    nbytes: float | None


def costs(
    rewards: Mapping[str, PersonalizedReward],
    predictors: Mapping[str, TextMargins],
    users: Sequence[User],
    *,
    shots: int,
    queries: int,
    seed: int,
) -> dict[str, Cost]:
    """Measures the cost of a user for each reward and each method that reads texts, by name.

    It is no part of a report, because equal evaluations give equal reports.

    Args:
        rewards, predictors: What is measured.
        users: The users, from whom a few are taken.
        shots, queries, seed: As for `evaluate`.

    Raises:
        DataError: There are no users.
    """
    people = People.of(users)
    episode = people.episodes(shots=shots, queries=queries, seed=seed).episode
    count = len(episode.query_mask)
    taken = np.unique(np.linspace(0, count - 1, min(count, WARM_UP + USERS)).astype(int))
    asked = list(zip(*texts_of(people, episode, taken), strict=True))

    def serve(reward: PersonalizedReward) -> Callable[[Context, Sequence[Preference]], object]:
        def run(context: Context, pairs: Sequence[Preference]) -> object:
            user = reward.adapt(context)
            return [user.score(pair.prompt, [pair.chosen, pair.rejected]) for pair in pairs]

        return run

    def nbytes(reward: PersonalizedReward) -> float:
        scoring = reward.scoring
        kept = [scoring.to_arrays(scoring.read(list(context))).values() for context, _ in asked]
        return float(np.mean([sum(leaf.nbytes for leaf in leaves) for leaves in kept]))

    return {
        name: Cost(_seconds(serve(reward), asked), nbytes(reward)) for name, reward in rewards.items()
    } | {
        name: Cost(_seconds(lambda context, pairs, read=read: read([context], [pairs]), asked), None)
        for name, read in predictors.items()
    }


def _seconds(
    run: Callable[[Context, Sequence[Preference]], object],
    asked: Sequence[tuple[Context, Sequence[Preference]]],
) -> float:
    taken = []
    for context, pairs in asked:
        start = time.perf_counter()
        run(context, pairs)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[min(WARM_UP, len(taken) - 1) :]))
