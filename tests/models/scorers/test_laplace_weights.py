"""Weights of pairs, and large systems, in Laplace's approximation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.scorers.laplace import (
    MOST_SWEPT,
    drift_of,
    laplace_posterior,
    posterior_variance,
    spd_inverse,
)

posterior_of = jax.jit(laplace_posterior)


def test_two_halves_of_a_pair_weigh_as_much_as_the_pair() -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(3, 4)).astype(np.float32)
    offsets = generator.normal(size=3).astype(np.float32)
    asked = generator.normal(size=(5, 4)).astype(np.float32)
    halves = posterior_of(np.repeat(rows, 2, 0), np.repeat(offsets, 2), jnp.full(6, 0.5))
    padded = (np.concatenate([rows, np.ones_like(rows)]), np.concatenate([offsets, np.zeros(3, np.float32)]))
    whole = posterior_of(*padded, np.arange(6) < 3)
    np.testing.assert_allclose(halves.mean, whole.mean, atol=1e-5)
    variances = [posterior_variance(one.differences, one.precision, asked) for one in (halves, whole)]
    np.testing.assert_allclose(*variances, rtol=1e-4)


def test_a_pair_without_weight_changes_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    weights = jnp.array([1.0, 0.3, 0.0, 1.0, 0.0, 0.7])
    found = posterior_of(rows, np.zeros(6, np.float32), weights)
    rows[[2, 4]] += 100.0
    np.testing.assert_array_equal(found.mean, posterior_of(rows, np.zeros(6, np.float32), weights).mean)


def test_large_matrices_are_inverted_as_small_ones() -> None:
    root = np.random.default_rng(0).normal(size=(MOST_SWEPT + 1, 9))
    matrix = (np.eye(MOST_SWEPT + 1) + root @ root.T).astype(np.float32)
    np.testing.assert_allclose(spd_inverse(jnp.asarray(matrix)), np.linalg.inv(matrix), atol=1e-4)


def test_a_taste_that_changes_is_a_gaussian_process_in_time() -> None:
    """Ages give the posterior of a larger world, in which the weights of every time are weights of their own."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(4, 3)).astype(np.float32)
    ages = jnp.array([2.0, 1.0, 1.0, 0.0])
    found = posterior_of(rows, np.zeros(4, np.float32), jnp.ones(4), ages=ages)
    # Weights of times 2, 1, 0 are mixtures of three independent ones.
    drift = drift_of(jnp.array([2.0, 1.0, 0.0]), 3)
    root = np.linalg.cholesky(np.asarray(drift.likeness, np.float64))
    large = np.concatenate(
        [root[i][:, None] * row for i, row in zip((0, 1, 1, 2), rows[:, None], strict=True)]
    )
    large = large.reshape(4, 9).astype(np.float32)
    whole = posterior_of(large, np.zeros(4, np.float32), jnp.ones(4))
    np.testing.assert_allclose(found.mean, root[2].astype(np.float32) @ whole.mean.reshape(3, 3), atol=1e-5)
