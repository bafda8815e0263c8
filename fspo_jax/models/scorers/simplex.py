"""A user's weights on the simplex, fitted to labelled pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp

STEPS = 32
"""Steps of a fit; a fixed number, differentiated through."""

PRIOR = 0.1
"""Nats of divergence from the start's weights that count as much as a nat of misfit."""


def fit_simplex(offsets: jax.Array, differences: jax.Array, mask: jax.Array, start: jax.Array) -> jax.Array:
    """Weights `w` that explain labels with likelihood `sigmoid(offset_i + w . difference_i)`.

    Exponentiated gradient descent on the misfit, convex in `w`, plus `PRIOR` times the divergence from the start. The
    step follows from the curvature that the differences allow, so strong ones do not make it oscillate.

    Args:
        offsets: `float32 [K]`.
        differences: `float32 [K, M]`.
        mask: `bool [K]`, false for padding.
        start: `float32 [M]`, logits of a user without pairs.

    Returns:
        `float32 [M]`, positive, sum one.

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
