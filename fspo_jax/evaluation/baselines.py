"""Methods that are not meta-trained, for reports and benchmarks.

To add one: write a function that returns `Margins` in a new file, name its kind in `config.BaselineConfig`, and add a
line to `make_baseline`, and to `REPORTED` if every report should show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

import numpy as np

from fspo_jax.config import BaselineConfig, PersonaSource
from fspo_jax.evaluation.bayes_optimal import bayes_optimal
from fspo_jax.evaluation.community_baselines import CommunityPrior, votes, with_own_pairs, without_community
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.linear_baselines import isotropic_gp, per_user_logistic
from fspo_jax.evaluation.predict import Margins, Method
from fspo_jax.types import Episode

REPORTED = (BaselineConfig("per_user_logistic"), BaselineConfig("isotropic_gp"))
"""Baselines in every report of a reward that reads features."""

IN_WORDS = {
    "per_user_logistic": (
        "per-user logistic",
        "logistic regression on the person's own labelled pairs alone; not meta-trained",
    ),
    "isotropic_gp": (
        "isotropic GP",
        "a Gaussian process on the person's own labelled pairs alone; not meta-trained",
    ),
}
"""What a report calls each kind, and what it is in words for a reader. Others go by their kind."""

TUNED = ("per_user_logistic", "isotropic_gp", "community_logistic")
"""Kinds with an amplitude, which benchmarks tune."""

SAME_FOR_EVERYBODY = ("population", "length")
"""Kinds that read nothing about a user."""

CEILINGS = ("item_identity", "majority", "bayes_optimal")
"""Kinds that know what no method can know about new people, such as which responses others judged."""


class Material(NamedTuple):
    """The data that baselines are made from.

    Attributes:
        people: The people, with the items that rows refer to.
        features: `float32 [N, F]`, features of the items.
        known: `int [P, 2]`, pairs of other users that a baseline may read, as rows: in a benchmark the pairs of the
            training users.
        worlds: Synthetic worlds of which some of the people are personas.
    """

    people: People
    features: np.ndarray
    known: np.ndarray
    worlds: Sequence[PersonaSource] = ()


def make_baseline(config: BaselineConfig, material: Material, amplitude: float | None = None) -> Method:
    """Makes a baseline.

    Args:
        config: The baseline.
        material: The data.
        amplitude: Prior deviation of a typical margin, in nats, for the kinds in `TUNED`; None for their default.
    """
    people, features, known, worlds = material
    name, _ = IN_WORDS.get(config.kind, (config.kind, ""))
    match config.kind:
        case "per_user_logistic" | "community_logistic":  # the same for nobody's community
            return Method(name, per_user_logistic(features, np.unique(known), amplitude))
        case "isotropic_gp":
            return Method(name, isotropic_gp(features, amplitude))
        case "length":
            return Method(name, longer_response(people))
        case "majority":
            return Method(name, majority(known))
        case "bayes_optimal":
            return bayes_optimal(people, worlds)
        case "popularity":
            return Method(name, without_community(votes(np.asarray(people.table.texts))))
        case "community_items":
            items = CommunityPrior(features, np.asarray(people.table.texts), linear=0.0, text=1.0)
            return Method(name, without_community(with_own_pairs(items, own_weight=1.0)))
        case _:
            assert_never(config.kind)


def longer_response(people: People) -> Margins:
    """Always picks the longer response, with a margin of one nat."""
    lengths = np.array([len(response) for _, response in people.items])

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        longer = np.sign(lengths[rows.queries[..., 0]] - lengths[rows.queries[..., 1]])
        return longer, np.zeros_like(longer)

    return margins


def majority(known: np.ndarray) -> Margins:
    """Predicts the log odds of other users' votes on the same pair, with one vote added to each side.

    Args:
        known: `int [P, 2]`, the pairs of the other users, as rows of (chosen, rejected).
    """
    votes: dict[tuple[int, int], int] = {}
    for chosen, rejected in known.tolist():
        votes[chosen, rejected] = votes.get((chosen, rejected), 0) + 1

    def margin(a: int, b: int) -> float:
        return float(np.log1p(votes.get((a, b), 0)) - np.log1p(votes.get((b, a), 0)))

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        flat = [margin(a, b) for a, b in rows.queries.reshape(-1, 2).tolist()]
        mean = np.array(flat).reshape(rows.query_mask.shape)
        return mean, np.zeros_like(mean)

    return margins
