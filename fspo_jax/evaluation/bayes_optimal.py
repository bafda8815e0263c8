"""Methods that read texts and return probabilities, such as the Bayes-optimal predictor of a synthetic world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.config import DataConfig, PersonaSource
from fspo_jax.data.personas.bayes import BayesOptimal
from fspo_jax.data.personas.world import make_world
from fspo_jax.errors import DataError
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.predict import Method, one_by_one, reading_texts
from fspo_jax.types import CandidateSet, Preference, User

DRAWS = 20_000
"""Number of personas drawn for the posterior."""

NAME = "Bayes-optimal"
MEANING = "knows how the synthetic personas were made; no method is better on average"
SURE = 1e-12
"""Smallest distance of a probability from 0 and 1; nearer ones are clipped."""


class Predictor(NamedTuple):
    """A method that reads texts.

    Attributes:
        probabilities: `(context, queries) -> [Q]`, probability of each query's chosen response, for one user.
        expected_utilities: `(context, candidate set) -> [C]`, for best-of-n; or None.
    """

    probabilities: Callable[[Sequence[Preference], Sequence[Preference]], np.ndarray]
    expected_utilities: Callable[[Sequence[Preference], CandidateSet], np.ndarray] | None = None


def predictor_method(name: str, predictor: Predictor, people: People) -> Method:
    """Turns a predictor into a method."""

    def margins(
        contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        mean = np.zeros((len(queries), max(map(len, queries), default=0)))
        for row, context, asked in zip(mean, contexts, queries, strict=True):
            chance = np.clip(predictor.probabilities(context, asked), SURE, 1 - SURE)
            row[: len(asked)] = np.log(chance) - np.log1p(-chance)
        return mean, np.zeros_like(mean)

    expected = predictor.expected_utilities
    return Method(name, reading_texts(margins, people), None if expected is None else one_by_one(expected))


def bayes_optimal(people: People, worlds: Sequence[PersonaSource]) -> Method:
    """The best possible method for personas of known worlds; it predicts ties for everybody else.

    It knows the true prior, utilities and label noise. It can pick the best of n if there is one world.

    Args:
        people: People of whom some or all are personas, with the name of their world as `source`.
        worlds: The configs of the worlds.
    """
    optimal = {world.name: BayesOptimal(world, draws=DRAWS) for world in worlds}
    world_of = {
        pair: optimal[user.source]
        for user in people.users
        if user.source in optimal
        for pair in user.preferences
    }

    def probabilities(context: Sequence[Preference], queries: Sequence[Preference]) -> np.ndarray:
        chance = np.full(len(queries), 0.5)
        by_domain: dict[str, list[int]] = {}  # the queries of a shuffled user come from several domains
        for i, query in enumerate(queries):
            if query in world_of:
                domain, _ = world_of[query].world.attributes(query.prompt, query.chosen)
                by_domain.setdefault(domain, []).append(i)
        for places in by_domain.values():
            asked = [queries[i] for i in places]
            chance[places] = world_of[asked[0]].probabilities(context, asked)
        return chance

    pickers = [one.expected_utilities for one in optimal.values()]
    return predictor_method(NAME, Predictor(probabilities, pickers[0] if len(pickers) == 1 else None), people)


def worlds_of(users: Sequence[User], data: DataConfig) -> tuple[PersonaSource, ...]:
    """Returns the synthetic world of which all users are personas, as a tuple of one, or an empty tuple.

    Args:
        users: The users.
        data: A config whose sources they may come from.
    """
    found = [source for source in data.sources if isinstance(source, PersonaSource)]
    if len(data.sources) != 1 or not found or any(user.source != found[0].name for user in users):
        return ()
    world = make_world(found[0])
    try:
        for user in users:
            for pair in user.preferences:
                world.attributes(pair.prompt, pair.chosen)
    except DataError:
        return ()  # personas of another world with the same name
    return (found[0],)
