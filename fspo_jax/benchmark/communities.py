"""Measures methods inside communities: G other people of the same source, and K pairs of the person.

Every method has the same pairs of the same people. What it makes of them:

- a scorer with a level of communities learns the community (`Scorer.learn`);
- another meta-trained method keeps what it says of a person, and the reward that it has for everybody is fitted anew to
  the community: a logistic regression on its features, with its own reward as prior mean, and an effect of every text
  where the community may have judged the same texts;
- `community_logistic`, `popularity` and `community_items` learn from the pairs of the community and of the person;
- all others use no community.

Where there is something to choose, it is chosen once for each kind of texts, by the log loss on meta-validation users
inside communities of meta-validation users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fspo_jax.benchmark.folds import SEED, Fold, Studies
from fspo_jax.benchmark.methods import Fitted
from fspo_jax.config import BaselineConfig, BenchmarkConfig, FinishedConfig, ItemIdentityConfig, MethodConfig
from fspo_jax.evaluation.communities import (
    KINDS,
    OTHER_TEXTS,
    SAME_TEXTS,
    Inside,
    Neighbours,
    draw_neighbours,
)
from fspo_jax.evaluation.community_baselines import (
    OWN_WEIGHTS,
    CommunityPrior,
    Refit,
    standardised,
    votes,
    with_own_pairs,
)
from fspo_jax.evaluation.controls import first_pairs, flipped_labels
from fspo_jax.evaluation.episodes import MeasuredUsers
from fspo_jax.metrics import correctness, predicted_logit, scores, user_means
from fspo_jax.types import Episode

CHOOSING_USERS = 150
"""Largest number of meta-validation users that choose how a method uses a community."""

CHOOSING_PEOPLE = 20
"""Largest community in which they choose."""


class CommunityPanel(NamedTuple):
    """Measured users with the people around them, drawn once for all methods.

    Attributes:
        measured: The users, with their episodes.
        neighbours: The people around them.
        versions: Their episodes: with every number of shots, then at the main number of shots with the other person's
            pairs, and with flipped labels.
    """

    measured: MeasuredUsers
    neighbours: Neighbours
    versions: Sequence[Episode]


def make_panel(measured: MeasuredUsers, pool: np.ndarray, studies: Studies) -> CommunityPanel:
    """Draws the people around measured users; nobody if the benchmark has no communities."""
    config = studies.config
    neighbours = draw_neighbours(
        studies.people,
        measured,
        pool,
        most=config.largest_community,
        pairs=config.community_pairs,
        seed=SEED,
    )
    k, episode = config.headline_shots, measured.episode
    versions = [first_pairs(episode, shots) for shots in config.shots]
    versions += [first_pairs(neighbours.other, k), flipped_labels(first_pairs(episode, k))]
    return CommunityPanel(measured, neighbours, versions)


def validation_panel(fold: Fold, studies: Studies) -> CommunityPanel:
    """Some meta-validation users of a fold, inside communities of meta-validation users."""
    users = fold.validation
    some = users[np.unique(np.linspace(0, len(users) - 1, min(CHOOSING_USERS, len(users))).astype(int))]
    return make_panel(studies.episodes(some), users, studies)


def inside_communities(
    method: MethodConfig, fitted: Fitted, fold: Fold, studies: Studies, known: Mapping[str, int] | None = None
) -> tuple[Mapping[str, int], Mapping[str, Inside]]:
    """How a method uses communities of each kind: the number of its setting, and its predictions.

    Args:
        method: The method.
        fitted: It, trained on the fold.
        fold: Its meta-validation users choose.
        studies: The people.
        known: Settings that were chosen before; None to choose.

    Returns:
        Both by kind; empty if the method uses no community, or the benchmark has none.
    """
    if not studies.config.largest_community:
        return {}, {}
    ways = alternatives(method, fitted, fold, studies)
    if known is None:
        known = choose(ways, validation_panel(fold, studies), studies.config)
    return known, {kind: ways[kind][number] for kind, number in known.items()}


def alternatives(
    method: MethodConfig, fitted: Fitted, fold: Fold, studies: Studies
) -> Mapping[str, Sequence[Inside]]:
    """The ways in which a method may use a community, for each kind of texts; none if it uses no community."""
    if fitted.inside is not None:
        return dict.fromkeys(KINDS, (fitted.inside,))
    if isinstance(method.model, FinishedConfig):
        return {}
    model, people, amplitudes = method.model, studies.people, studies.config.amplitudes
    texts = np.asarray(people.table.texts)
    features = standardised(studies.features[method.name].rows, np.unique(people.pairs_of(fold.train)))

    def with_own(linear: float, text: float) -> list[Inside]:
        prior = CommunityPrior(features, texts, linear, text)
        return [with_own_pairs(prior, weight) for weight in OWN_WEIGHTS]

    if isinstance(model, BaselineConfig):
        ways = {
            "popularity": lambda: [votes(texts)],
            "community_items": lambda: [way for a in amplitudes for way in with_own(0.0, a)],
            "community_logistic": lambda: [way for a in amplitudes for way in with_own(a, 0.0)],
        }
        return dict.fromkeys(KINDS, tuple(ways[model.kind]())) if model.kind in ways else {}
    refit = Refit(fitted.method.margins, len(texts))
    identities = isinstance(model, ItemIdentityConfig)
    priors = {
        OTHER_TEXTS: [] if identities else [(a, 0.0) for a in amplitudes],
        SAME_TEXTS: [
            (0.0 if identities else a, t) for a in amplitudes for t in (0.0, a) if t or not identities
        ],
    }
    return {
        kind: [refit.inside(CommunityPrior(features, texts, *prior)) for prior in its]
        for kind, its in priors.items()
    }


def choose(
    ways: Mapping[str, Sequence[Inside]], panel: CommunityPanel, config: BenchmarkConfig
) -> dict[str, int]:
    """The number of the way with the smallest log loss on a panel, for each kind of texts that has a choice."""
    people = [count for count in config.communities if 0 < count <= CHOOSING_PEOPLE] or [
        config.largest_community
    ]
    mask = panel.measured.episode.query_mask
    versions = [first_pairs(panel.measured.episode, shots) for shots in sorted({0, config.headline_shots})]

    def loss(way: Inside, kind: str) -> float:
        found = [
            predicted_logit(*one)
            for count in people
            for one in way(panel.neighbours.communities[kind].first(count), versions)
        ]
        return float(np.mean([scores(odds, mask).log_loss for odds in found]))

    return {
        kind: int(np.argmin([loss(way, kind) for way in its])) if len(its) > 1 else 0
        for kind, its in ways.items()
        if its
    }


def judge_communities(
    fitted: Fitted, ways: Mapping[str, Inside], panel: CommunityPanel, config: BenchmarkConfig
) -> list[dict[str, Any]]:
    """Results of a method without a community, then inside communities of every kind and size."""
    if not config.largest_community:
        return []
    alone = [fitted.method.margins(episode) for episode in panel.versions]
    found = [{"people": 0, "texts": OTHER_TEXTS, **_record(alone, panel, config)}]
    for kind, way in ways.items():
        for count in sorted(set(config.communities) - {0}):
            rows = panel.neighbours.communities[kind].first(count)
            about = {"people": count, "texts": kind, "known_people": float(rows.sizes.mean())}
            about["known_pairs"] = float(rows.mask.sum((1, 2)).mean())
            found.append({**about, **_record(way(rows, panel.versions), panel, config)})
    return found


def _record(
    margins: Sequence[tuple[np.ndarray, np.ndarray]], panel: CommunityPanel, config: BenchmarkConfig
) -> dict[str, Any]:
    mask = panel.measured.episode.query_mask
    odds = [np.where(mask, predicted_logit(*one), 0.0) for one in margins]
    *own, other, flipped = (user_means(correctness(one), mask) for one in odds)
    found = [scores(one, mask) for one in odds[: len(config.shots)]]
    with_other = panel.neighbours.has_other
    main = own[config.shots.index(config.headline_shots)]
    return {
        "shots": {
            str(shots): {
                "accuracy": one.accuracy.round(4).tolist(),
                "log_loss": one.log_loss,
                "calibration_error": one.calibration_error,
            }
            for shots, one in zip(config.shots, found, strict=True)
        },
        "own_minus_other": (main - other)[with_other].round(4).tolist(),
        "flipped": flipped.round(4).tolist(),
    }
