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


def bradley_terry(margin: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Negative log-likelihood of the label, `-log sigmoid(margin)`, in nats. On implicit rewards this is DPO.

    Args:
        margin: r(chosen) - r(rejected), nats, any shape.
        label_smoothing: Share of labels taken to be wrong, 0 to 0.5: the loss is its mean over both labels.

    Source: Bradley and Terry (1952); Rafailov et al. (2023), DPO, arXiv 2305.18290, equation 7; Mitchell (2023),
    conservative DPO.
    """
    return jax.nn.softplus(-margin) + label_smoothing * margin


def ipo(margin: jax.Array, beta: float = 0.5) -> jax.Array:
    """Identity preference optimisation: squared distance of the margin to `1 / (2 beta)`.

    Source: Azar et al. (2023), arXiv 2310.12036, equation 17.
    """
    return jnp.square(margin - 1.0 / (2.0 * beta))
