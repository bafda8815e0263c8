"""What methods without a level of communities make of a community: a logistic regression, votes, or a refit.

All fit one Gaussian process to a community's pairs: `c . features + (effect of the text)`, with a normal prior and the
Bradley-Terry likelihood, by Laplace's approximation in double precision. They differ in the prior mean and in whether
the person's own pairs are among the data.

Source: Rasmussen and Williams (2006), Gaussian processes for machine learning, algorithms 3.1 and 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.evaluation.communities import CommunityRows, Inside
from fspo_jax.evaluation.predict import Margins
from fspo_jax.metrics import probability
from fspo_jax.types import Episode

NEWTON_STEPS = 30
"""At most."""

QUERIES_PER_USER = 64
"""Of the made-up users whose queries give the reward of every item."""

OWN_WEIGHTS = (1.0, 4.0)
"""Weights of a person's own pairs to try, against 1 for a pair of the community."""


class CommunityPrior(NamedTuple):
    """Prior of what a community likes.

    Attributes:
        features: `float32 [N, F]`, features of the items, scaled so that a typical margin has a deviation of 1 nat.
        texts: `int [N]`, text of each item.
        linear: Deviation of a typical margin, in nats; 0 for no features.
        text: The same for the effects of texts; 0 for none.
    """

    features: np.ndarray
    texts: np.ndarray
    linear: float
    text: float

    def covariance(self, pairs: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of the margins of pairs `int [N, 2]` and others `[M, 2]`, `float64 [N, M]`."""
        found = np.zeros((len(pairs), len(others)))
        if self.linear:
            a, b = (self.features[rows[:, 0]] - self.features[rows[:, 1]] for rows in (pairs, others))
            found += self.linear**2 * (a @ b.T)
        if self.text:
            a, b = self.texts[pairs][:, None, :, None], self.texts[others][None, :, None, :]
            found += 0.5 * self.text**2 * ((a == b) * np.array([[1, -1], [-1, 1]])).sum((2, 3))
        return found

    def variance(self, pairs: np.ndarray) -> np.ndarray:
        """Prior variance of the margins of pairs `int [N, 2]` of different texts, `float64 [N]`."""
        difference = self.features[pairs[:, 0]] - self.features[pairs[:, 1]]
        return self.linear**2 * np.square(difference, dtype=np.float64).sum(1) + self.text**2


def standardised(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Features for `CommunityPrior`, standardised over the rows `known`, `float32 [N, F]`."""
    deviation = np.maximum(features[known].std(0), 1e-6)
    return (features / deviation / features.shape[1] ** 0.5).astype(np.float32)


def posterior(
    prior: CommunityPrior, pairs: np.ndarray, offsets: np.ndarray, weights: np.ndarray, queries: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the margins of queries, `float64 [Q]`, without the queries' own offsets.

    Args:
        prior: The prior.
        pairs: `int [N, 2]`, the labelled pairs.
        offsets: `[N]`, their margins under the prior mean, in nats.
        weights: `[N]`, how much each label counts.
        queries: `int [Q, 2]`.
    """
    if not len(pairs):
        return np.zeros(len(queries)), prior.variance(queries)
    gram, cross = prior.covariance(pairs, pairs), prior.covariance(queries, pairs)
    alpha = laplace_mode(gram, offsets, weights)
    chance = probability(offsets + gram @ alpha)
    root = np.sqrt(weights * chance * (1 - chance))
    precision = root[:, None] * np.linalg.inv(np.eye(len(root)) + root[:, None] * gram * root) * root
    explained = (cross @ precision * cross).sum(1)
    return cross @ alpha, np.maximum(prior.variance(queries) - explained, 0.0)


def laplace_mode(gram: np.ndarray, offsets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The `alpha` for which `gram @ alpha` are the most probable margins above `offsets`, `float64 [N]`."""
    alpha, best = np.zeros(len(offsets)), np.inf
    for _ in range(NEWTON_STEPS):
        latent = gram @ alpha
        chance = probability(offsets + latent)
        slope = weights * (1 - chance)
        root = np.sqrt(slope * chance)
        target = root * root * latent + slope
        inner = np.eye(len(root)) + root[:, None] * gram * root
        step = target - root * np.linalg.solve(inner, root * (gram @ target)) - alpha
        size = 1.0
        while True:  # halve steps that overshoot
            trial = alpha + size * step
            latent = gram @ trial
            loss = weights @ np.logaddexp(0.0, -(offsets + latent)) + 0.5 * trial @ latent
            if loss <= best or size < 1e-3:
                break
            size *= 0.5
        alpha = trial
        if best - loss < 1e-6:
            break
        best = loss
    return alpha


def with_own_pairs(prior: CommunityPrior, own_weight: float) -> Inside:
    """One regression on the pairs of a community and of the person, with prior mean 0.

    Args:
        prior: The prior.
        own_weight: How much a pair of the person counts, against 1 for a pair of the community.
    """

    def inside(rows: CommunityRows, episodes: Sequence[Episode]) -> list[tuple[np.ndarray, np.ndarray]]:
        def one_user(u: int, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
            own, (pairs, _) = episode.context[u][episode.context_mask[u]], rows.of(u)
            weights = np.r_[np.full(len(own), own_weight), np.ones(len(pairs))]
            every = np.concatenate([own, pairs])
            return posterior(prior, every, np.zeros(len(every)), weights, _asked(episode, u))

        return [
            _spread(episode, [one_user(u, episode) for u in range(len(episode.query_mask))])
            for episode in episodes
        ]

    return inside


class Refit:
    """A method whose reward of everybody is fitted anew to each community; what it says of a person is added to that.

    Args:
        margins: The method's predictions without a community.
        items: Number of items that rows refer to.
    """

    def __init__(self, margins: Margins, items: int):
        self._margins, self._rewards = margins, zero_shot_rewards(margins, items)
        self._episodes: Sequence[Episode] = ()
        self._alone: list[tuple[np.ndarray, np.ndarray]] = []

    def inside(self, prior: CommunityPrior) -> Inside:
        """The method with this prior of the change. The prior mean is the method's own reward at zero shots."""

        def inside(rows: CommunityRows, episodes: Sequence[Episode]) -> list[tuple[np.ndarray, np.ndarray]]:
            if episodes is not self._episodes:  # the same for every community and prior
                self._episodes, self._alone = episodes, [self._margins(episode) for episode in episodes]
            changes = []
            for u in range(len(rows.mask)):
                pairs, _ = rows.of(u)
                offsets = self._rewards[pairs[:, 0]] - self._rewards[pairs[:, 1]]
                changes.append(posterior(prior, pairs, offsets, np.ones(len(pairs)), _asked(episodes[0], u)))
            mean, variance = _spread(episodes[0], changes)
            return [(own + mean, spread + variance) for own, spread in self._alone]

        return inside


def votes(texts: np.ndarray) -> Inside:
    """The log odds of how often a text was chosen and rejected, with one vote added to each side."""

    def inside(rows: CommunityRows, episodes: Sequence[Episode]) -> list[tuple[np.ndarray, np.ndarray]]:
        def one_user(u: int, episode: Episode) -> tuple[np.ndarray, np.ndarray]:
            pairs = texts[np.concatenate([episode.context[u][episode.context_mask[u]], rows.of(u)[0]])]
            asked = texts[_asked(episode, u)]
            won, lost = ((asked[..., None] == pairs[:, side]).sum(-1) for side in (0, 1))
            scores = np.log1p(won) - np.log1p(lost)
            return scores[:, 0] - scores[:, 1], np.zeros(len(asked))

        return [
            _spread(episode, [one_user(u, episode) for u in range(len(episode.query_mask))])
            for episode in episodes
        ]

    return inside


def zero_shot_rewards(margins: Margins, items: int) -> np.ndarray:
    """What a method thinks of each item before it knows anybody, `float64 [N]`, less that of the first item."""
    users = -(-items // QUERIES_PER_USER)
    item = np.minimum(np.arange(users * QUERIES_PER_USER), items - 1).reshape(users, QUERIES_PER_USER)
    queries = np.stack([item, np.zeros_like(item)], -1).astype(np.int32)
    nobody = np.zeros((users, 1, 2), np.int32), np.zeros((users, 1), bool)
    mean, _ = margins(Episode(*nobody, queries, np.ones_like(item, bool)))
    return mean.reshape(-1)[:items].astype(np.float64)


def without_community(inside: Inside) -> Margins:
    """The predictions of a method where nobody of the community is known."""

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        users = len(rows.query_mask)
        nobody = CommunityRows(np.zeros((users, 0, 1, 2), np.int32), np.zeros((users, 0, 1), bool))
        return inside(nobody, [rows])[0]

    return margins


def _asked(episode: Episode, user: int) -> np.ndarray:
    return episode.queries[user][episode.query_mask[user]]


def _spread(
    episode: Episode, found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Puts the values of each user's queries into `[U, Q]`."""
    mean, variance = np.zeros((2, *episode.query_mask.shape))
    for result, values in zip((mean, variance), zip(*found, strict=True), strict=True):
        result[episode.query_mask] = np.concatenate(values)
    return mean, variance
