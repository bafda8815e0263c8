"""Audits of a source: what a personalised accuracy on it can mean, before anything is trained.

Each audit is a number and what it should be; a source that fails one gives accuracies that mean something else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.data.episodes import evaluation_episodes, index_items
from fspo_jax.evaluation.baselines import isotropic_gp
from fspo_jax.metrics import Interval, correctness, interval, predicted, user_means
from fspo_jax.models.features.featurizer import FeatureFunction
from fspo_jax.types import Episode, User

QUERIES = 16
USERS_PER_BATCH = 128

FORMAT: dict[str, Callable[[str], float]] = {
    "lines": lambda text: text.count("\n"),
    "lists": lambda text: len(re.findall(r"^\s*(?:[-*•]|\d+[.)])\s", text, re.MULTILINE)),
    "emphasis": lambda text: text.count("**") + text.count("#"),
    "white space around": lambda text: len(text) - len(text.strip()),
    "quotes": lambda text: text.count('"'),
    "end without full stop": lambda text: float(not text.rstrip().endswith((".", "!", "?"))),
}
"""What formatting alone can tell. A rejected response that is formatted otherwise than the chosen one is a leak."""


class Audit(NamedTuple):
    """One line of an audit.

    Attributes:
        name: What was tried.
        value: A share, mean over users with its interval where it is one over users.
        expectation: What it should be.
        suspicious: Whether it is not.
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
        users: Their pairs.
        featurizer: Of the audits that need features: shuffled users and swapped contexts, by the isotropic Gaussian
            process; left out when None.
        shots: Context pairs of those.
        seed: Of episodes, shuffles and intervals.

    Raises:
        DataError: There is no user.
    """
    found = [_length(users, seed), *_formats(users, seed), *_duplicates(users), _shared_texts(users)]
    return found + (_personal(users, featurizer, shots, seed) if featurizer is not None else [])


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
        "near one half; else length alone predicts, and every model should be compared with it",
        abs(share.mean - 0.5) > 0.1,
    )


def _formats(users: Sequence[User], seed: int) -> list[Audit]:
    """Of pairs that differ in a format, the share where the chosen response has more of it."""
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
                "between 20 and 80 %; else chosen and rejected were written or cleaned differently",
                not 0.2 < share.mean < 0.8,
            )
        )
    return found


def _duplicates(users: Sequence[User]) -> list[Audit]:
    """Users whose labelled pairs are those of another one, and pairs that a user judged twice."""
    prints = Counter(frozenset((p.prompt, p.chosen, p.rejected) for p in user.preferences) for user in users)
    twins = sum(count for count in prints.values() if count > 1)
    again = total = 0
    for user in users:
        judged = Counter((p.prompt, *sorted((p.chosen, p.rejected))) for p in user.preferences)
        again += sum(count - 1 for count in judged.values())
        total += len(user.preferences)
    return [
        Audit(
            "users with the very same labelled pairs as another",
            _plain(twins / len(users)),
            "0; one person under two ids can be in training and in the test",
            twins > 0.01 * len(users),
        ),
        Audit(
            "pairs that the same user judged before",
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
        "low; where it is not, context and queries must be split by text, as all episodes here are",
        share > 0.2,
    )


def _plain(value: float) -> Interval:
    return Interval(value, value, value)


def _personal(users: Sequence[User], featurizer: FeatureFunction, shots: int, seed: int) -> list[Audit]:
    """Does a user's own context say more than another's, and is that gone when pairs are dealt to users at random?"""
    items, table = index_items(users)
    features = featurizer(*zip(*items, strict=True))
    margins = isotropic_gp(features)
    generator = np.random.default_rng(seed)

    def accuracies(episode: Episode) -> np.ndarray:
        parts = []
        for start in range(0, len(episode.query_mask), USERS_PER_BATCH):
            rows = np.arange(start, start + USERS_PER_BATCH).clip(max=len(episode.query_mask) - 1)
            part = Episode(*(leaf[rows] for leaf in episode))
            read = part._replace(context=features[part.context], queries=features[part.queries])
            parts.append(predicted(*margins(read))[: len(episode.query_mask) - start])
        return user_means(correctness(np.concatenate(parts) - 0.5), episode.query_mask)

    def episodes(pairs: np.ndarray) -> Episode:
        made = evaluation_episodes(table._replace(pairs=pairs), max_context=shots, queries=QUERIES, seed=seed)
        kept = made.query_mask.any(1)
        return Episode(*(leaf[kept] for leaf in made))

    own = episodes(np.asarray(table.pairs))
    turned = np.roll(np.arange(len(own.query_mask)), 1)
    swapped = own._replace(context=own.context[turned], context_mask=own.context_mask[turned])
    dealt = episodes(np.asarray(table.pairs)[generator.permutation(len(table.pairs))])
    of_own, of_swapped, of_dealt = (accuracies(episode) for episode in (own, swapped, dealt))
    gain = interval(of_own - of_swapped, seed)
    found = [
        Audit(
            f"own context of {shots} pairs",
            interval(of_own, seed),
            "above one half, if anything can be learned without training",
            False,
        ),
        Audit(
            "another user's context",
            interval(of_swapped, seed),
            "lower than the own; the rest is what people share",
            gain.high < 0.005,
        ),
        Audit(
            "pairs dealt to users at random",
            interval(of_dealt, seed),
            "as another user's context; what stays is consensus, not taste",
            False,
        ),
    ]
    return found if len(turned) > 1 else found[:1]  # one user on their own: there is no other context
