"""Losses of the margin: per element, unreduced, never masked (the training step masks once)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def probit_scale(margin: jax.Array, variance: jax.Array) -> jax.Array:
    """Shrinks a margin by its posterior variance so that its sigmoid is the predictive probability.

    Args:
        margin: Posterior mean of r(chosen) - r(rejected), nats, any shape.
        variance: Posterior variance of the same, nats squared, same shape; zero leaves the margin alone.

    Returns:
        `margin / sqrt(1 + pi variance / 8)`.

    Source: MacKay (1992), The evidence framework applied to classification networks.
    """
    return margin / jnp.sqrt(1.0 + jnp.pi * variance / 8.0)


def bradley_terry(margin: jax.Array) -> jax.Array:
    """Negative log-likelihood of the label, `-log sigmoid(margin)`, in nats.

    Source: Bradley and Terry (1952).
    """
    return jax.nn.softplus(-margin)


def ipo(margin: jax.Array, beta: float = 0.5) -> jax.Array:
    """Identity preference optimisation: squared distance of the margin to `1 / (2 beta)`.

    Source: Azar et al. (2023), arXiv 2310.12036, equation 17.
    """
    return jnp.square(margin - 1.0 / (2.0 * beta))
