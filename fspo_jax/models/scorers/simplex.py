"""Fits a user's weights on the simplex to labelled pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp

STEPS = 32
"""Number of steps of a fit. It is fixed, and gradients pass through all steps."""

PRIOR = 0.1
"""Weight of the divergence from the initial weights, relative to the negative log-likelihood."""


def fit_simplex(offsets: jax.Array, differences: jax.Array, mask: jax.Array, start: jax.Array) -> jax.Array:
    """Fits weights `w` of labels with likelihood `sigmoid(offset_i + w . difference_i)`.

    The method is exponentiated gradient descent on the negative log-likelihood, which is convex in `w`, plus `PRIOR`
    times the divergence from the initial weights. The step size follows from the largest possible curvature, so that
    large differences do not make it oscillate.

    Args:
        offsets: `float32 [K]`, margins in nats that do not depend on the weights.
        differences: `float32 [K, M]`, margins in nats per weight.
        mask: `bool [K]`, false for padding.
        start: `float32 [M]`, logits of the weights of a user without pairs.

    Returns:
        The weights, `float32 [M]`, positive with sum 1.

    Source: Kivinen and Warmuth (1997), Exponentiated gradient versus gradient descent.
    """
    prior = jax.nn.log_softmax(start)
    spread = jnp.where(mask, jnp.square(differences.max(-1) - differences.min(-1)), 0.0)
    step = 4.0 / (4.0 * PRIOR + 0.25 * spread.sum())
    step = jnp.minimum(jax.lax.stop_gradient(step), 1.0 / PRIOR)

    def descend(logits: jax.Array, _: None) -> tuple[jax.Array, None]:
        logits = jax.nn.log_softmax(logits)
        wrong = jnp.where(mask, jax.nn.sigmoid(-(offsets + differences @ jnp.exp(logits))), 0.0)
        return logits + step * (wrong @ differences + PRIOR * (prior - logits)), None

    return jax.nn.softmax(jax.lax.scan(descend, prior, None, length=STEPS)[0])
