"""Methods that are not meta-trained. This file is where reports and benchmarks find them.

To add one: write a function that gives `Margins` into a file of its own, name its kind in `config.BaselineConfig`, and
add a line to `make_baseline`, and to `REPORTED` where every report should have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, assert_never

import numpy as np

from fspo_jax.config import BaselineConfig, PersonaSource
from fspo_jax.evaluation.bayes_optimal import bayes_optimal
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.linear_baselines import isotropic_gp, per_user_logistic
from fspo_jax.evaluation.predict import Margins, Method
from fspo_jax.types import Episode

REPORTED = (BaselineConfig("per_user_logistic"), BaselineConfig("isotropic_gp"))
"""Those that every report has whose reward reads features."""

NAMES = {"per_user_logistic": "per-user logistic", "isotropic_gp": "isotropic GP"}
"""What a report calls them."""

MEANINGS = {
    "per-user logistic": "logistic regression on the person's own labelled pairs alone; not meta-trained",
    "isotropic GP": "a Gaussian process on the person's own labelled pairs alone; not meta-trained",
}
"""What they are, in words for a reader, by the name in a report."""

TUNED = ("per_user_logistic", "isotropic_gp")
"""Kinds with an amplitude, which a benchmark tunes."""

SAME_FOR_EVERYBODY = ("population", "length")
"""Kinds that read nothing of a user."""

CEILINGS = ("item_identity", "majority", "bayes_optimal")
"""Kinds that know what no method can know of new people: which responses others judged, or how the world was made."""


class Material(NamedTuple):
    """What a baseline is made from.

    Attributes:
        people: Whose items the rows are.
        features: `float32 [N, F]` of the items.
        known: `int [P, 2]`, pairs that may be looked at beforehand, as rows: in a benchmark those of the users
            that are trained on.
        worlds: Synthetic worlds that some of the people are personas of.
    """

    people: People
    features: np.ndarray
    known: np.ndarray
    worlds: Sequence[PersonaSource] = ()


def make_baseline(config: BaselineConfig, material: Material, amplitude: float | None = None) -> Method:
    """Makes a baseline.

    Args:
        config: Which one.
        material: What it is made from.
        amplitude: Prior deviation of a typical margin, nats; for the kinds in `TUNED`, which have a default.
    """
    people, features, known, worlds = material
    name = NAMES.get(config.kind, config.kind)
    match config.kind:
        case "per_user_logistic":
            return Method(name, per_user_logistic(features, np.unique(known), amplitude))
        case "isotropic_gp":
            return Method(name, isotropic_gp(features, amplitude))
        case "length":
            return Method(name, longer_response(people))
        case "majority":
            return Method(name, majority(known))
        case "bayes_optimal":
            return bayes_optimal(people, worlds)
        case _:
            assert_never(config.kind)


def longer_response(people: People) -> Margins:
    """Always picks the longer response: a margin of one nat for it, so odds of e."""
    lengths = np.array([len(response) for _, response in people.items])

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        longer = np.sign(lengths[rows.queries[..., 0]] - lengths[rows.queries[..., 1]])
        return longer, np.zeros_like(longer)

    return margins


def majority(known: np.ndarray) -> Margins:
    """Log odds of the votes of other users on the very pair, with one vote added to each side.

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
