"""Metrics of preference prediction: per user first, then over users, with intervals by bootstrap over users."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
CALIBRATION_BINS = 10

TEMPERATURE_DEVIATION = 0.5
"""Standard deviation of the logarithm of the best temperature over the studies of `docs/log.md`, about."""


class Interval(NamedTuple):
    """Mean over users with its 95 % bootstrap interval, from `low` to `high`."""

    mean: float
    low: float
    high: float


class Calibration(NamedTuple):
    """A reliability diagram.

    Attributes:
        confidence: `[bins]`, mean predicted probability of the bin; NaN for empty bins.
        frequency: `[bins]`, share of the bin's predictions that came true; NaN for empty bins.
        weight: `[bins]`, share of all predictions that fall into the bin.
        error: Expected calibration error: the weighted mean of `|confidence - frequency|`.
    """

    confidence: np.ndarray
    frequency: np.ndarray
    weight: np.ndarray
    error: float


class Scores(NamedTuple):
    """How well the queries of some users were predicted.

    Attributes:
        accuracy: `float64 [U]`, share of each user's queries that were predicted right, ties one half.
        log_loss: Nats, mean over users.
        brier: Mean over users.
        calibration_error: Expected calibration error over all queries.
        worst_decile: Mean accuracy of the tenth of the users with the lowest accuracy.
    """

    accuracy: np.ndarray
    log_loss: float
    brier: float
    calibration_error: float
    worst_decile: float


@dataclass(frozen=True)
class WorstGroup:
    """The group of users that is served worst.

    Attributes:
        name: Of the group.
        groups: Number of groups that were compared.
        mean: Over its users.
        gap: Mean of the best group minus that of this one.
    """

    name: str
    groups: int
    mean: Interval
    gap: float


def predicted(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Probability of the chosen response from the mean and variance of its margin.

    The mean over the posterior of `sigmoid(margin)`, by the probit approximation of `losses.probit_scale`, in double
    precision.

    Args:
        mean: Mean of r(chosen) - r(rejected), in nats; floats of any shape.
        variance: Its variance, in nats squared; same shape. Zero where the scorer knows no uncertainty.

    Returns:
        `sigmoid(mean / sqrt(1 + pi variance / 8))`, `float64` of the same shape.

    Source: MacKay (1992), The evidence framework applied to classification networks.

    Example:
        >>> predicted(np.array([0.0, 2.0]), np.array([0.0, 0.0])).round(3).tolist()
        [0.5, 0.881]
    """
    return probability(predicted_logit(mean, variance))


def predicted_logit(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log odds of `predicted`, in nats; arguments and source are those of `predicted`.

    Example:
        >>> predicted_logit(np.array([2.0]), np.array([24 / np.pi])).tolist()         # divided by sqrt(1 + 3)
        [1.0]
    """
    return mean.astype(np.float64) / np.sqrt(1 + np.pi * variance / 8)


def probability(logit: np.ndarray) -> np.ndarray:
    """Probability of log odds: the sigmoid, `1 / (1 + exp(-logit))`, without overflow.

    Args:
        logit: Log odds in nats; floats of any shape.

    Example:
        >>> probability(np.array([0.0, np.log(3.0), -1e4])).tolist()
        [0.5, 0.75, 0.0]
    """
    return 0.5 * (1 + np.tanh(0.5 * logit))


def correctness(margin: np.ndarray) -> np.ndarray:
    """Whether a margin agrees with the label: 1 where it is positive, 0 where negative, one half at a tie.

    Args:
        margin: r(chosen) - r(rejected), in nats; floats of any shape. NaN stays NaN.

    Example:
        >>> correctness(np.array([1.5, 0.0, -0.2])).tolist()
        [1.0, 0.5, 0.0]
    """
    return np.where(np.isnan(margin), np.nan, np.where(margin == 0, 0.5, margin > 0))


def user_means(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean of each user's values, so that every user counts once however many queries they have.

    Args:
        values: `[U, Q]`, one value for each query of each user.
        mask: `bool [U, Q]`, which of them are real.

    Returns:
        `float64 [U]`; NaN for a user without a query.

    Example:
        >>> user_means(np.array([[1.0, 0.0], [1.0, 9.0]]), np.array([[True, True], [True, False]])).tolist()
        [0.5, 1.0]
    """
    count = mask.sum(-1)
    total = np.where(mask, values, 0.0).sum(-1, dtype=np.float64)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def interval(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean over users and its 95 % percentile bootstrap interval, resampling users.

    Args:
        values: `[U]`, one value for each user. NaN is not dropped: it makes the result NaN. An empty array gives NaN.
        seed: Of the resampling; equal seeds give equal intervals.

    Source: Efron (1979), Bootstrap methods: another look at the jackknife.

    Example:
        >>> mean, low, high = interval(np.array([0.5, 0.75, 1.0, 0.75]))
        >>> low <= mean == 0.75 <= high
        True
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(_resamples(len(values), seed) @ values / len(values), [2.5, 97.5])
    return Interval(float(np.mean(values)), float(low), float(high))


@functools.lru_cache(maxsize=4)
def _resamples(users: int, seed: int) -> np.ndarray:
    """How often each user is drawn in each resample, `uint8 [RESAMPLES, users]`; a report asks for few, many times."""
    return (
        np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), RESAMPLES).astype(np.uint8)
    )


def worst_decile(values: np.ndarray) -> float:
    """Mean over the tenth of the users with the lowest values: how the worst-served users fare.

    Args:
        values: `[U]`, one value for each user; the tenth is rounded down, to one user at least.

    Returns:
        The mean, in the unit of the values; NaN for no users.

    Example:
        >>> worst_decile(np.arange(20.0))
        0.5
    """
    return float(np.sort(values)[: max(1, len(values) // 10)].mean()) if len(values) else float("nan")


def log_loss(probability: np.ndarray) -> np.ndarray:
    """Negative logarithm of the probability given to the chosen response, in nats.

    Args:
        probability: Probabilities of any shape, in [0, 1]; those below 1e-7 count as 1e-7.

    Returns:
        `-log(probability)` of the same shape. Always saying one half costs log 2 = 0.693.

    Example:
        >>> log_loss(np.array([0.5, 0.25])).round(3).tolist()
        [0.693, 1.386]
    """
    return -np.log(np.clip(probability, 1e-7, 1.0))


def brier(probability: np.ndarray) -> np.ndarray:
    """Squared error of the probability given to the chosen response: `(1 - probability)^2`.

    Args:
        probability: Probabilities of any shape, in [0, 1].

    Source: Brier (1950), Verification of forecasts expressed in terms of probability.

    Example:
        >>> brier(np.array([0.5, 1.0])).tolist()
        [0.25, 0.0]
    """
    return np.square(1.0 - probability)


def calibration(probability: np.ndarray) -> Calibration:
    """Compares how confident predictions were with how often they came true.

    Each pair counts once: its confidence is the probability of the side that was found more probable, in [0.5, 1], and
    it came true if that side was chosen. Confidences fall into `CALIBRATION_BINS` bins of equal width. The expected
    calibration error is `sum over bins of weight |confidence - frequency|`. Ties count as half right.

    Args:
        probability: `[N]`, probabilities given to the chosen responses, in [0, 1].

    Source: Guo et al. (2017), On calibration of modern neural networks, arXiv 1706.04599, equation 3.

    Example:
        >>> found = calibration(np.array([0.9, 0.9, 0.9, 0.1]))        # 90 % sure four times, right three times
        >>> round(found.error, 2)
        0.15
    """
    confidence = np.maximum(probability, 1.0 - probability)
    right = correctness(probability - 0.5)
    place = np.minimum(((confidence - 0.5) * 2 * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    count = np.bincount(place, minlength=CALIBRATION_BINS)
    empty = np.full(CALIBRATION_BINS, np.nan)
    means = [
        np.divide(np.bincount(place, values, CALIBRATION_BINS), count, out=empty.copy(), where=count > 0)
        for values in (confidence, right)
    ]
    weight = count / max(len(probability), 1)
    error = float(np.nansum(weight * np.abs(means[0] - means[1])))
    return Calibration(means[0], means[1], weight, error)


def fit_temperature(logits: np.ndarray) -> float:
    """The temperature that makes the labels most likely when it divides the log odds of the predictions.

    Above 1 the predictions were overconfident, below 1 not confident enough. The logarithm of the temperature has a
    normal prior around 0 with standard deviation `TEMPERATURE_DEVIATION`, so that a few predictions change little; no
    predictions give 1:

        argmin over t of   sum over i of softplus(-logit_i / t) + (log t / TEMPERATURE_DEVIATION)^2 / 2

    Args:
        logits: `[N]`, log odds given to the chosen responses, in nats.

    Returns:
        The temperature, between exp(-3) and exp(3).

    Raises:
        ValueError: A logit is not finite.

    Source: Guo et al. (2017), On calibration of modern neural networks, arXiv 1706.04599, section 4.2. Differs from the
    paper: the prior.

    Example:
        >>> round(fit_temperature(np.zeros(0)), 2)
        1.0
        >>> sure_and_often_wrong = np.array([4.0, 4.0, -4.0, -4.0] * 50)
        >>> fit_temperature(sure_and_often_wrong) > 2
        True
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite.")
    candidates = np.linspace(-3.0, 3.0, 601)
    losses = [np.logaddexp(0.0, -logits * np.exp(-value)).sum() for value in candidates]
    prior = 0.5 * np.square(candidates / TEMPERATURE_DEVIATION)
    return float(np.exp(candidates[np.argmin(losses + prior)]))


def scores(log_odds: np.ndarray, mask: np.ndarray) -> Scores:
    """All metrics of the predictions of some users' queries: the one definition that every report uses.

    Args:
        log_odds: `[U, Q]`, log odds given to the chosen response of each query, in nats.
        mask: `bool [U, Q]`, which queries are real; each user has at least one.

    Example:
        >>> found = scores(np.array([[2.0, -1.0], [3.0, 0.0]]), np.array([[True, True], [True, False]]))
        >>> found.accuracy.tolist(), found.worst_decile
        ([0.5, 1.0], 0.5)
    """
    chance = probability(log_odds)
    accuracy = user_means(correctness(log_odds), mask)
    return Scores(
        accuracy,
        float(user_means(log_loss(chance), mask).mean()),
        float(user_means(brier(chance), mask).mean()),
        calibration(chance[mask]).error,
        worst_decile(accuracy),
    )


def worst_group(
    values: np.ndarray, groups: Sequence[str], *, smallest: int = 5, seed: int = 0
) -> WorstGroup | None:
    """The group with the lowest mean, and how far it is behind the group with the highest.

    Args:
        values: `[U]`, one value for each user.
        groups: U names; users whose name is empty belong to no group.
        smallest: Groups with fewer users are left out: their means say little.
        seed: Of the bootstrap.

    Returns:
        The group; None where there are fewer than two groups to compare.

    Example:
        >>> worst_group(np.array([0.5, 0.5, 1.0, 0.75]), ["a", "a", "b", "b"], smallest=2).gap
        0.375
        >>> worst_group(np.array([0.5, 0.5]), ["a", "a"], smallest=2) is None
        True
    """
    names, counts = np.unique([name for name in groups if name], return_counts=True)
    of_user = np.array(groups)
    members = {
        str(name): of_user == name for name, count in zip(names, counts, strict=True) if count >= smallest
    }
    if len(members) < 2:
        return None
    means = {name: float(values[here].mean()) for name, here in members.items()}
    worst = min(means, key=means.__getitem__)
    gap = max(means.values()) - means[worst]
    return WorstGroup(worst, len(means), interval(values[members[worst]], seed), gap)


def winrate_against_random(utilities: np.ndarray, pick: int) -> float:
    """Probability that the picked candidate beats a candidate drawn at random, ties one half.

    Args:
        utilities: `[C]`, true utilities of the candidates, in nats.
        pick: Index of the picked candidate. The drawn one may be the same, which is a tie.

    Returns:
        A share in [0, 1]; the best of C distinct candidates gets `1 - 1 / (2 C)`.

    Example:
        >>> winrate_against_random(np.array([0.0, 1.0, 2.0, 3.0]), 3)
        0.875
    """
    return float(correctness(utilities[pick] - utilities).mean())


def regret(utilities: np.ndarray, pick: int) -> float:
    """Utility that the pick loses against the best candidate, in nats; zero for the best.

    Args:
        utilities: `[C]`, true utilities of the candidates, in nats.
        pick: Index of the picked candidate.

    Example:
        >>> regret(np.array([0.0, 1.0, 3.0]), 1)
        2.0
    """
    return float(utilities.max() - utilities[pick])
