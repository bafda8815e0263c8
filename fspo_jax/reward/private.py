"""Learns a community with differential privacy: whether one person took part can hardly be told from what is learned.

Neighbours are two lists of people of which one has one person more; all pairs of a person go together. Each person
contributes four statistics, each clipped to a fixed norm, and Gaussian noise is added to the sum of each:

1. the gradient of the log-likelihood of the person's pairs at the prior mean, in directions of unit prior variance,
2. the diagonal of its curvature there, of which only the mean over each wide block is used,
3. one, so that the number of people is known roughly,
4. slope and curvature along the direction that 1 and 2 give, in each step of a search for how far to go.

With y the first sum, H the second and t the noise's deviation in y, the linear model `y ~ N(H x, H + t^2)` with the
prior `x ~ N(0, I)` gives a direction. It neglects that directions are correlated, so its length is wrong, and the
search finds the length. All that is kept is computed from the noisy sums. Nothing else of the people is read: neither
which texts come back nor which kind of community they are.

The noise of a statistic is `sigma clip / sqrt(share)`, and the shares add up to one. So the sums together are as
private as one Gaussian mechanism of sensitivity 1 and deviation sigma, which dp-accounting gives for (epsilon, delta).

Sources: Balle and Wang (2018), Improving the Gaussian mechanism for differential privacy, arXiv 1805.06530, for sigma;
Dong et al. (2022), Gaussian differential privacy, corollary 3.3, for the composition.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.arguments import check_number
from fspo_jax.errors import DataError, FspoError, how_to_install
from fspo_jax.models.features.text_effects import TextEffects
from fspo_jax.models.scorers.contract import Contribution, Params, Scorer
from fspo_jax.reward.community import Learner, People, check_community, check_learns
from fspo_jax.reward.engines.contract import Scoring, bucket
from fspo_jax.reward.engines.features import FeatureScoring, plain_features
from fspo_jax.types import Preference

MOST_PAIRS = 32
"""Pairs of one person that are read: the first ones."""

PEOPLE_PER_BATCH = 32
STEPS = 3
"""Steps of the search along the direction."""

CLIPS = {"gradient": 0.75, "curvature": 0.25, "people": 1.0, "slope": 1.0, "bend": 0.5}
"""Largest norm of what one person contributes to each sum. Chosen on made personas, not on the people."""

SHARES = {"gradient": 0.7, "curvature": 0.1, "people": 0.05, "slope": 0.1 / STEPS, "bend": 0.05 / STEPS}
"""Share of the budget of each sum; slope and bend are read `STEPS` times."""


@dataclass(frozen=True)
class Privacy:
    """How private a community is: its people can be told from others by a factor of exp(epsilon), but for delta.

    Attributes:
        epsilon: Above 0, at most 100. 1 is strong, 10 is weak.
        delta: Above 0, at most 0.1. Choose it well below one over the number of people.

    Raises:
        DataError: A number is not as above.

    Example:
        >>> Privacy(epsilon=3, delta=1e-5)
        Privacy(epsilon=3.0, delta=1e-05)
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", check_number(self.epsilon, "epsilon", 1e-3, 100.0))
        object.__setattr__(self, "delta", check_number(self.delta, "delta", 1e-15, 0.1))

    @property
    def sigma(self) -> float:
        """Deviation of Gaussian noise on a sum to which one person adds at most 1.

        Raises:
            FspoError: The package dp-accounting is not installed.
        """
        try:
            from dp_accounting import get_sigma_gaussian
        except ImportError as error:
            raise FspoError(
                f"private communities need the package dp-accounting. {how_to_install('privacy')}"
            ) from error
        return float(get_sigma_gaussian(self.epsilon, self.delta))


def private_scoring(
    scoring: Scoring,
    people: People,
    kind: str,
    privacy: Privacy,
    mean: np.ndarray | None = None,
) -> FeatureScoring:
    """The same scoring with what is privately learned from people; see `PersonalizedReward.for_community`.

    Args:
        scoring: It knows no community.
        people: As in `PersonalizedReward.for_community`; about 40 kB of memory each.
        kind: Of the scorer, for messages.
        privacy: The guarantee.
        mean: Prior mean of the weights, `float32 [R]`, from a description, which is public.
    """
    if not isinstance(privacy, Privacy):
        raise DataError(
            f"privacy must be fspo.Privacy(epsilon=..., delta=...), not {type(privacy).__name__}."
        )
    scoring = check_learns(scoring, kind)
    if scoring.community:
        raise FspoError(
            "this reward knows a community already. Learn a private one with the reward from before."
        )
    before = Learner(scoring, mean)
    before.learn_nothing()
    community = before.scoring(0, 0).community
    assert community is not None
    prior = np.diagonal(community["covariance"][0]).astype(np.float64)
    mechanism = Mechanism(scoring.scorer, scoring.params, privacy.sigma)
    for pairs in check_community(people):
        if pairs:
            mechanism.add(_rows(scoring, pairs[:MOST_PAIRS], community["mean"][0]))
    weights, variances, count = mechanism.learned(prior)
    known = {
        **community,
        "mean": community["mean"] + weights[None].astype(np.float32),
        "covariance": np.diag(variances)[None].astype(np.float32),
        "people": np.int64(max(count, 1)),
        "texts": TextEffects.none()._asdict(),
        "privacy": np.array([privacy.epsilon, privacy.delta]),
    }
    return FeatureScoring.from_parts(
        scoring.config, {**scoring.params, "community": known}, plain_features(scoring.featurizer)
    )


def _rows(scoring: FeatureScoring, pairs: list[Preference], mean: np.ndarray) -> np.ndarray:
    """Representations of a person's pairs, `[K, 2, 1 + R]`, with the prior mean's reward in the first column."""
    rows = np.array(scoring.scorer.represent(scoring.params, jnp.asarray(scoring.features_of(pairs))))
    rows[..., 0] += rows[..., 1:] @ mean
    return rows


class Mechanism:
    """The people's representations, and noisy sums of what they contribute.

    Args:
        scorer: With `contribution`.
        params: Its parameters, without a community.
        sigma: As `Privacy.sigma`; 0 for no noise.
    """

    def __init__(self, scorer: Scorer, params: Params, sigma: float):
        self._params, self._sigma, self._wide = params, sigma, scorer.wide_places.values()
        self._contributions = jax.jit(functools.partial(_contributions, scorer))
        self._people: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """Adds one person's representations, `[K, 2, 1 + R]`."""
        self._people.append(rows)

    def learned(self, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Mean and variances of the weights, `[R]`, relative to the prior mean, and about how many people there are.

        Args:
            prior: Prior variances `[R]`.
        """
        scales = np.sqrt(prior)
        found = self._of_people(np.diag(scales), 0.0)
        pull = self.noisy_sum("gradient", found.gradient)
        curvature = self.noisy_sum("curvature", found.curvature)
        for place in self._wide:
            curvature[place] = curvature[place].mean()
        curvature = np.maximum(curvature, 0.0)
        count = round(float(self.noisy_sum("people", np.ones((len(self._people), 1)))[0]))
        gain = curvature / np.maximum(curvature + self.deviation("gradient") ** 2, 1e-12)
        certain = 1.0 + gain * curvature
        weights = gain * pull / certain
        length = float(np.linalg.norm(weights))
        if length == 0.0:
            return weights, prior, count
        direction, far = scales * weights / length, 0.0
        for _ in range(STEPS):
            found = self._of_people(direction[:, None], far)
            slope = float(self.noisy_sum("slope", found.gradient)[0])
            bend = max(float(self.noisy_sum("bend", found.curvature)[0]), 0.0)
            gain = bend / max(bend + self.deviation("slope") ** 2, 1e-12)
            far += (gain * slope - far / length**2) / (gain * bend + 1.0 / length**2)
            far = min(max(far, 0.0), 10.0 * length)
        return far * direction, prior / certain, count

    def deviation(self, name: str) -> float:
        """Standard deviation of the noise on each entry of a sum."""
        return self._sigma * CLIPS[name] / SHARES[name] ** 0.5

    def noisy_sum(self, name: str, contributions: Any) -> np.ndarray:
        """Sum over people of their clipped contributions `[N, D]`, with noise: `[D]`."""
        total = clipped(contributions, CLIPS[name]).sum(0)
        return total + self.deviation(name) * standard_normal(len(total))

    def _of_people(self, directions: np.ndarray, far: float) -> Contribution:
        """What each person contributes along J directions, at so far along the first: each `[N, J]`."""
        size = bucket(max((len(rows) for rows in self._people), default=1), 1)
        parts = []
        for start in range(0, len(self._people), PEOPLE_PER_BATCH):
            part = self._people[start : start + PEOPLE_PER_BATCH]
            pairs = np.zeros((PEOPLE_PER_BATCH, size, 2, 1 + len(directions)), np.float32)
            used = np.zeros((PEOPLE_PER_BATCH, size), np.float32)
            for i, rows in enumerate(part):
                pairs[i, : len(rows)], used[i, : len(rows)] = rows, 1.0
            pairs[..., 0] += far * (pairs[..., 1:] @ directions[:, 0])
            found = self._contributions(self._params, pairs, used, directions.astype(np.float32))
            parts.append([np.asarray(leaf, np.float64)[: len(part)] for leaf in found])
        if not parts:
            return Contribution(*[np.zeros((0, directions.shape[1]))] * 2)  # type: ignore[arg-type]
        return Contribution(*(np.concatenate(leaves) for leaves in zip(*parts, strict=True)))  # type: ignore[arg-type]


def _contributions(
    scorer: Scorer, params: Params, pairs: jax.Array, used: jax.Array, directions: jax.Array
) -> Any:
    assert scorer.contribution is not None
    return jax.vmap(scorer.contribution, (None, 0, 0, None))(params, pairs, used, directions)


def clipped(contributions: Any, most: float) -> np.ndarray:
    """Rows `[N, D]` scaled down to a norm of at most `most`; a row that is not finite becomes zero."""
    rows = np.asarray(contributions, np.float64)
    largest = np.abs(rows).max(1, keepdims=True, initial=0.0)
    finite = np.isfinite(largest)
    scale = np.where(finite & (largest > 0), largest, 1.0)
    rows = np.where(finite, rows, 0.0) / scale  # at most 1, so that squares do not overflow
    most *= 1.0 - 1e-9  # for rounding
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(scale, most / np.maximum(lengths, 1e-300))


def standard_normal(count: int) -> np.ndarray:
    """Noise from the operating system's source of randomness, which nobody can predict or replay."""
    source = random.SystemRandom()
    return np.array([source.gauss(0.0, 1.0) for _ in range(count)])
