"""Metrics of preference prediction: per user first, then over users, with intervals by bootstrap over users."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
CALIBRATION_BINS = 10

TEMPERATURE_DEVIATION = 0.5
"""About how much the logarithms of the best temperatures of the studies of `docs/log.md` differ."""


class Interval(NamedTuple):
    """Mean over users with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Calibration(NamedTuple):
    """A reliability diagram.

    Attributes:
        confidence: `[bins]`, mean predicted probability of the bin; NaN for empty bins.
        frequency: `[bins]`, share of the bin's predictions that came true; NaN for empty bins.
        weight: `[bins]`, share of all predictions.
        error: Expected calibration error, the weighted mean distance of the two.
    """

    confidence: np.ndarray
    frequency: np.ndarray
    weight: np.ndarray
    error: float


def predicted(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Probability of the chosen response from mean and variance of its margin, in double precision."""
    return probability(predicted_logit(mean, variance))


def predicted_logit(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log odds of the same in nats. Source: as `losses.probit_scale`."""
    return mean.astype(np.float64) / np.sqrt(1 + np.pi * variance / 8)


def probability(logit: np.ndarray) -> np.ndarray:
    """The sigmoid."""
    return 0.5 * (1 + np.tanh(0.5 * logit))


def correctness(margin: np.ndarray) -> np.ndarray:
    """1 where the margin is positive, 0 where negative, one half at a tie; NaN stays NaN."""
    return np.where(np.isnan(margin), np.nan, np.where(margin == 0, 0.5, margin > 0))


def user_means(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean of each user's values `[U, Q]` where `mask` holds: `float64 [U]`; NaN for a user without any."""
    count = mask.sum(-1)
    total = np.where(mask, values, 0.0).sum(-1, dtype=np.float64)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def interval(values: np.ndarray, seed: int = 0) -> Interval:
    """Mean of `values [U]` over users and its 95 % percentile bootstrap interval.

    NaN is not dropped: it makes the result NaN. An empty array gives NaN.
    """
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), RESAMPLES)
    low, high = np.percentile(draws @ values / len(values), [2.5, 97.5])
    return Interval(float(np.mean(values)), float(low), float(high))


def worst_decile(values: np.ndarray) -> float:
    """Mean of the lowest tenth of `values [U]` (at least one user); NaN for no users."""
    return float(np.sort(values)[: max(1, len(values) // 10)].mean()) if len(values) else float("nan")


def log_loss(probability: np.ndarray) -> np.ndarray:
    """Negative log of the probability given to what was chosen, nats, clipped at 1e-7."""
    return -np.log(np.clip(probability, 1e-7, 1.0))


def brier(probability: np.ndarray) -> np.ndarray:
    """Squared distance of the probability given to what was chosen from 1."""
    return np.square(1.0 - probability)


def calibration(probability: np.ndarray) -> Calibration:
    """Reliability of probabilities `[N]` given to what was chosen.

    Each pair counts once, as the more probable side and whether it was chosen: confidences lie in [0.5, 1], in
    `CALIBRATION_BINS` bins of equal width. Ties count as half right.

    Source: Guo et al. (2017), On calibration of modern neural networks.
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
    """The temperature that makes predictions most likely: it divides their logits `[N]`, of what was chosen, in nats.

    Below 1 they were too unsure. Its logarithm has a normal prior around 0 of deviation `TEMPERATURE_DEVIATION`; no
    predictions leave it at 1.

    Raises:
        ValueError: A logit is not finite.

    Source: temperature scaling, Guo et al. (2017), On calibration of modern neural networks, section 4.2.
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite.")
    candidates = np.linspace(-3.0, 3.0, 601)
    losses = [np.logaddexp(0.0, -logits * np.exp(-value)).sum() for value in candidates]
    prior = 0.5 * np.square(candidates / TEMPERATURE_DEVIATION)
    return float(np.exp(candidates[np.argmin(losses + prior)]))


def winrate_against_random(utilities: np.ndarray, pick: int) -> float:
    """Probability that the picked candidate has the higher utility than a uniformly drawn one, ties one half.

    The drawn one may be the pick itself, which is a tie.
    """
    return float(correctness(utilities[pick] - utilities).mean())


def regret(utilities: np.ndarray, pick: int) -> float:
    """Utility that the pick loses against the best candidate, nats."""
    return float(utilities.max() - utilities[pick])
