"""Audits of a source, before anything is trained: whether an accuracy on it can say something about personal taste.

Each audit is a number with its expected range. If it is outside, accuracies on the source mean something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.errors import counted
from fspo_jax.evaluation.controls import OTHER_USER, SHUFFLED, control_scores, make_controls
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.linear_baselines import isotropic_gp
from fspo_jax.evaluation.predict import Method, log_odds
from fspo_jax.metrics import Interval, correctness, interval, user_means
from fspo_jax.models.features.contract import FeatureFunction
from fspo_jax.types import User

QUERIES = 16

FORMAT: dict[str, Callable[[str], float]] = {
    "lines": lambda text: text.count("\n"),
    "lists": lambda text: len(re.findall(r"^[^\S\n]*(?:[-*•]|\d+[.)])\s", text, re.MULTILINE)),
    "emphasis": lambda text: text.count("**") + text.count("#"),
    "white space at the ends": lambda text: len(text) - len(text.strip()),
    "quotes": lambda text: text.count('"'),
    "no full stop at the end": lambda text: float(not text.rstrip().endswith((".", "!", "?"))),
}
"""Formats that may give the label away: a leak, if rejected responses are formatted differently from chosen ones."""


class Audit(NamedTuple):
    """One line of an audit.

    Attributes:
        name: What was measured.
        value: A share; if it is a mean over users, with its interval.
        expectation: The expected value, in words.
        suspicious: Whether the value is not as expected.
    """

    name: str
    value: Interval
    expectation: str
    suspicious: bool


def audit(
    users: Sequence[User], featurizer: FeatureFunction | None = None, *, shots: int = 8, seed: int = 0
) -> list[Audit]:
    """Audits the labelled pairs of users.

    Args:
        users: The users.
        featurizer: For the audits that need features: the isotropic Gaussian process with the user's own context, with
            another user's context, and with shuffled users. None skips them.
        shots: Number of context pairs in these audits.
        seed: Seed of episodes, shuffles and intervals.

    Raises:
        DataError: There is no user, or a user has no pairs.
    """
    people = People.of(users)
    found = [_length(users, seed), *_formats(users, seed), *_duplicates(users), _shared_texts(users)]
    return found + (_personal(people, featurizer, shots, seed) if featurizer is not None else [])


def _over_users(values: Sequence[Sequence[float]], seed: int) -> Interval:
    return interval(np.array([np.mean(row) for row in values if len(row)]), seed)


def _length(users: Sequence[User], seed: int) -> Audit:
    sides = [
        [0.5 + 0.5 * np.sign(len(p.chosen) - len(p.rejected)) for p in user.preferences] for user in users
    ]
    share = _over_users(sides, seed)
    return Audit(
        "the longer response is chosen",
        share,
        "near one half; otherwise length alone predicts labels, so compare every model with it",
        abs(share.mean - 0.5) > 0.1,
    )


def _formats(users: Sequence[User], seed: int) -> list[Audit]:
    """For each format, the share of the pairs that differ in it where the chosen response has more."""
    found = []
    for name, measure in FORMAT.items():
        sides, differing, total = [], 0, 0
        for user in users:
            signs = [np.sign(measure(p.chosen) - measure(p.rejected)) for p in user.preferences]
            kept = [0.5 + 0.5 * sign for sign in signs if sign]
            differing, total = differing + len(kept), total + len(signs)
            sides.append(kept)
        if differing < 0.02 * total:
            continue
        share = _over_users(sides, seed)
        found.append(
            Audit(
                f"format alone: {name} (differs in {differing / total:.0%} of pairs)",
                share,
                "between 20 and 80 %; otherwise chosen and rejected were written or cleaned differently",
                not 0.2 < share.mean < 0.8,
            )
        )
    return found


def _duplicates(users: Sequence[User]) -> list[Audit]:
    """Users with the same labelled pairs as another user, and pairs that a user judged twice."""
    prints = Counter(frozenset((p.prompt, p.chosen, p.rejected) for p in user.preferences) for user in users)
    twins = sum(count for count in prints.values() if count > 1)
    again = total = 0
    for user in users:
        judged = Counter((p.prompt, *sorted((p.chosen, p.rejected))) for p in user.preferences)
        again += sum(count - 1 for count in judged.values())
        total += len(user.preferences)
    return [
        Audit(
            "users with the same labelled pairs as another user",
            _plain(twins / len(users)),
            "0; a person with two ids can be in the training and in the test data",
            twins > 0.01 * len(users),
        ),
        Audit(
            "pairs that the same user judged twice",
            _plain(again / total),
            "0; a query must not repeat a context pair",
            again > 0.01 * total,
        ),
    ]


def _shared_texts(users: Sequence[User]) -> Audit:
    """Responses that occur in more than one pair of their user."""
    shares = []
    for user in users:
        counts = Counter(text for p in user.preferences for text in (p.chosen, p.rejected))
        shares.append(sum(count > 1 for count in counts.values()) / len(counts))
    share = float(np.mean(shares))
    return Audit(
        "responses that a user has in several pairs",
        _plain(share),
        "low; if it is high, context and queries must not share texts (fspo separates them)",
        share > 0.2,
    )


def _plain(value: float) -> Interval:
    return Interval(value, value, value)


def _personal(people: People, featurizer: FeatureFunction, shots: int, seed: int) -> list[Audit]:
    """Whether a user's own context helps more than another's, and more than when users are shuffled."""
    measured = people.episodes(shots=shots, queries=QUERIES, seed=seed)
    method = Method("isotropic GP", isotropic_gp(featurizer(*zip(*people.items, strict=True))))
    episode = measured.episode
    own = user_means(correctness(log_odds(method.margins, episode)), episode.query_mask)
    scores = control_scores(method, make_controls(people, measured, seed=seed), shots)
    found = [
        Audit(
            f"own context of {counted(shots, 'pair')}",
            interval(own, seed),
            "above one half, if something can be learned without training",
            False,
        )
    ]
    if OTHER_USER in scores:
        other = scores[OTHER_USER]
        found.append(
            Audit(
                OTHER_USER,
                interval(other.accuracy, seed),
                "lower than with the own context; the rest is what people have in common",
                interval(own[other.users] - other.accuracy, seed).high < 0.005,
            )
        )
        found.append(
            Audit(
                f"{SHUFFLED}: pairs given to random users",
                interval(scores[SHUFFLED].accuracy, seed),
                "as with another user's context; what remains is what people have in common",
                False,
            )
        )
    return found
