"""What one person's pairs say of a community's weights, against numerical integrals over the person's own part."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from tiny_reward import make_reward

SCORING = make_reward("three_level_gp").scoring
WIDTH = SCORING.states.width - 1
CONTRIBUTION = jax.jit(SCORING.scorer.contribution)
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)


@functools.cache
def own_variances() -> np.ndarray:
    params = {**SCORING.params}
    kinds = params["log_shares"].shape[1]
    shapes = {"mean": (1, WIDTH), "covariance": (1, WIDTH), "log_weights": (1,), "log_kinds": (1, kinds)}
    params["community"] = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    nothing = np.zeros((1, 2, 1 + WIDTH), np.float32)
    return np.asarray(SCORING.scorer.encode_context(params, nothing, np.zeros(1, np.float32)).personal[0])


def log_likelihood(pairs: np.ndarray, direction: np.ndarray, far: float) -> float:
    """Log probability of one or two labels, the own part integrated out."""
    away = (pairs[:, 0] - pairs[:, 1]).astype(float)
    offsets = away[:, 0] + far * (away[:, 1:] @ direction)
    root = np.linalg.cholesky(away[:, 1:] * own_variances() @ away[:, 1:].T + 1e-9 * np.eye(len(away)))
    grid = np.stack(np.meshgrid(*[POINTS] * len(away), indexing="ij"), -1)
    weights = np.prod(np.meshgrid(*[WEIGHTS] * len(away), indexing="ij"), 0) / (2 * np.pi) ** (len(away) / 2)
    margins = offsets + grid @ root.T
    return float(np.log((weights * np.prod(1 / (1 + np.exp(-margins)), -1)).sum()))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", [0.3, 1.0])
def test_contribution_is_near_the_derivatives_of_the_integral(count: int, size: float) -> None:
    generator, step, rows = np.random.default_rng(count), 1e-2, []
    for _ in range(12):
        pairs = np.zeros((4, 2, 1 + WIDTH), np.float32)
        pairs[:count] = generator.normal(size=(count, 2, 1 + WIDTH)) * size
        direction = generator.normal(size=WIDTH) * np.sqrt(own_variances())
        used = (np.arange(4) < count).astype(np.float32)
        found = CONTRIBUTION(SCORING.params, pairs, used, direction[:, None].astype(np.float32))
        at = [log_likelihood(pairs[:count], direction, far) for far in (-step, 0.0, step)]
        expected = (at[2] - at[0]) / (2 * step), -(at[2] - 2 * at[1] + at[0]) / step**2
        rows.append([(found.gradient[0], expected[0]), (found.curvature[0], expected[1])])
    for (mine, exact), near, off in zip(
        np.array(rows, float).transpose(1, 2, 0), (0.98, 0.9), (0.3, 0.5), strict=True
    ):
        assert np.corrcoef(mine, exact)[0, 1] > near
        assert (mine @ exact) / (exact @ exact) == pytest.approx(1.0, abs=off)


def test_unused_pairs_say_nothing() -> None:
    pairs = np.full((4, 2, 1 + WIDTH), np.nan, np.float32)
    directions = np.eye(WIDTH, dtype=np.float32)
    found = CONTRIBUTION(SCORING.params, pairs, np.zeros(4, np.float32), directions)
    assert not np.asarray(found.gradient).any() and not np.asarray(found.curvature).any()
