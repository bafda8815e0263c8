"""Reads a community's taste from a description of it in words.

A description has features like a response. In each wide block, such as a sentence embedding, the prior mean of the
community's weights is

    factor * features(description) - neutral factor * features(NEUTRAL)

so people are expected to like responses that are like their description. A description also differs from a response in
form, which says nothing of the people; the neutral text takes part of that away. The two factors of each wide block are
learned from communities with a known description.

Source: Kumar et al. (2024), ComPO: community preferences for language model personalization, arXiv 2410.16027, who give
the description to a language model as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from fspo_jax.arguments import NO_SEQUENCES, check_text, shown
from fspo_jax.checkpoints.rewards import DESCRIPTION
from fspo_jax.errors import DataError, FspoError
from fspo_jax.reward.community import Learner, People, check_community, check_learns
from fspo_jax.reward.engines.contract import Scoring
from fspo_jax.reward.engines.features import FeatureScoring, plain_features

if TYPE_CHECKING:
    from fspo_jax.reward.personalized import PersonalizedReward

NEUTRAL = "A group of people."
"""What a description says that says nothing."""

PAIRS_PER_BATCH = 256
STEPS = 20
"""Newton steps. The loss is convex, and a few are enough."""


def described_mean(scoring: Scoring, description: str, kind: str) -> np.ndarray:
    """Prior mean of the weights that the described people have in common, `float32 [R]`.

    Args:
        scoring: Of the reward. It knows no community.
        description: Of the people.
        kind: Of the scorer, for messages.

    Raises:
        DataError: The description is no text, or empty.
        FspoError: The reward has not learned to read descriptions, or knows a community already.
    """
    scoring = check_learns(scoring, kind)
    description = _checked(description, "description")
    if scoring.community:
        raise FspoError(
            "this reward knows a community already, but a description is where a community starts from. Give the "
            "description and the people together, to the reward from before."
        )
    factors = scoring.params.get(DESCRIPTION)
    if factors is None:
        raise FspoError(
            "this reward has not learned to read descriptions. Use fspo.learn_descriptions(reward, communities) with "
            "described communities, or leave out the description."
        )
    rows = _rows(scoring, [description, NEUTRAL])
    mean = np.zeros(rows.shape[1] - 1, np.float32)
    for name, place in scoring.scorer.wide_places.items():
        factor, neutral = np.asarray(factors[name])
        mean[place] = factor * rows[0, 1:][place] - neutral * rows[1, 1:][place]
    return mean


def learn_descriptions(
    reward: PersonalizedReward,
    communities: Iterable[tuple[str, People]],
) -> PersonalizedReward:
    """Returns the reward with what it takes to read descriptions of communities.

    Two numbers are learned for each wide block of features, from communities whose description is known, by the
    likelihood of their pairs. Nothing else changes. Some hundred communities of a few people are plenty.

    Args:
        reward: With a `three_level_gp` scorer, and without a community.
        communities: A description of each community, and its people, as in `PersonalizedReward.for_community`.

    Raises:
        FspoError: The scorer has no level of communities, or knows a community already.
        DataError: There is no pair, or `communities` is not as above.

    Example:
        >>> known = [("people who like it short", brief), ("people who like jokes", funny)]  # doctest: +SKIP
        >>> able = fspo.learn_descriptions(reward, known)  # doctest: +SKIP
        >>> able.for_community(description="people who like poems").adapt()  # doctest: +SKIP
    """
    if not hasattr(reward, "scoring"):
        raise DataError(f"reward must be a PersonalizedReward, not {shown(reward)}.")
    scoring = check_learns(reward.scoring, reward.config.scorer.kind)
    if scoring.community:
        raise FspoError("this reward knows a community already. Use the reward from before.")
    if not scoring.scorer.wide:
        raise FspoError(
            "this reward reads no wide block of features, such as 'sentence', so no description either."
        )
    if isinstance(communities, NO_SEQUENCES) or not hasattr(communities, "__iter__"):
        raise DataError(
            f"communities must be a list of descriptions with their people, not {shown(communities)}."
        )
    nobody = Learner(scoring)
    nobody.learn_nothing()
    unknown = nobody.scoring(0, 0)
    assert unknown.community is not None
    prior = np.diagonal(unknown.community["covariance"][0])
    places = scoring.scorer.wide_places.values()
    margins, variances, slopes, squares = [], [], [], []
    neutral = _rows(scoring, [NEUTRAL])[0, 1:]
    for number, entry in enumerate(communities):
        if not (isinstance(entry, (tuple, list)) and len(entry) == 2):
            raise DataError(f"communities[{number}] must be a description and people, not {shown(entry)}.")
        text = _rows(scoring, [_checked(entry[0], f"communities[{number}][0]")])[0, 1:]
        pairs = [pair for person in check_community(entry[1]) for pair in person]
        for start in range(0, len(pairs), PAIRS_PER_BATCH):
            part = pairs[start : start + PAIRS_PER_BATCH]
            for found, values in zip((margins, variances), unknown.margins([[]], [part]), strict=True):
                found.append(values[0])
            texts = [response for pair in part for response in (pair.chosen, pair.rejected)]
            rows = _rows(scoring, texts, [pair.prompt for pair in part for _ in range(2)])[:, 1:]
            away = rows[::2] - rows[1::2]
            along = [away[:, place] @ told[place] for place in places for told in (text, -neutral)]
            slopes.append(np.stack(along, axis=1))
            squares.append([np.square(told[place]).mean() for place in places for told in (text, neutral)])
    if not slopes:
        raise DataError(
            "there is no labelled pair. Give described communities with the pairs of their people."
        )
    # A factor of one of these moves the weights as far as communities differ. Few communities tell little of it.
    units = np.repeat([prior[place].mean() for place in places], 2) / np.maximum(
        np.mean(squares, axis=0), 1e-9
    )
    units = np.sqrt(units.astype(np.float64))
    margin, variance, slope = (
        np.concatenate(parts).astype(np.float64) for parts in (margins, variances, slopes)
    )
    factors = units * _fitted(margin, variance, units * slope)
    named = {
        name: pair.astype(np.float32)
        for name, pair in zip(scoring.scorer.wide_places, factors.reshape(-1, 2), strict=True)
    }
    params = {**scoring.params, DESCRIPTION: named}
    return replace(
        reward, scoring=FeatureScoring.from_parts(scoring.config, params, plain_features(scoring.featurizer))
    )


def _checked(description: Any, name: str) -> str:
    """Returns a description that says something; raises `DataError` for anything else."""
    if not check_text(description, name).strip():
        raise DataError(f"{name} is empty. Say in words what the people have in common.")
    return description


def _rows(scoring: FeatureScoring, texts: list[str], prompts: list[Any] | None = None) -> np.ndarray:
    """Representations `[N, 1 + R]` of texts; a description is its own prompt."""
    features = scoring.featurizer(prompts or texts, texts)
    return np.asarray(scoring.scorer.represent(scoring.params, jnp.asarray(features)))


def _fitted(margins: np.ndarray, variances: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """The factors `[2 W]` under which pairs `[N]` are most likely, with a standard normal prior; by Newton's method."""
    scale = 1.0 / np.sqrt(1.0 + np.pi * variances / 8.0)
    factors = np.zeros(slopes.shape[1])
    for _ in range(STEPS):
        wrong = 1.0 / (1.0 + np.exp(np.clip(scale * (margins + slopes @ factors), -50.0, 50.0)))
        gradient = slopes.T @ (scale * wrong) - factors
        curvature = (slopes.T * (scale**2 * wrong * (1.0 - wrong))) @ slopes + np.eye(len(factors))
        factors = factors + np.linalg.solve(curvature, gradient)
    return factors
