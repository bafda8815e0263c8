"""Baselines that need no meta-training: per-user logistic regression and the isotropic Gaussian process.

Both are a Gaussian prior on the weights of the features and the Bradley-Terry likelihood of the user's own pairs; they
differ in the features (standardised, or as they are) and in the strength of the prior.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.precision import in_float32
from fspo_jax.models.scorers.preferential_gp import laplace_posterior, posterior_variance
from fspo_jax.types import Episode

Margins = Callable[[Episode], tuple[np.ndarray, np.ndarray]]
"""Mean and variance of the margins of an episode batch of features, each `[B, Q]`."""

LOGISTIC_AMPLITUDE = 1.0
"""Prior deviation of the whole margin of a typical pair, for standardised features: `C = 1` of common libraries
after scaling the features by the root of their number."""

ISOTROPIC_AMPLITUDE = 1.0
"""The same for features as they are."""


def linear_margins(scale: np.ndarray) -> Margins:
    """Margins of `w . (features * scale)` with `w ~ N(0, I)` fitted to each user's context alone.

    Args:
        scale: `float32 [F]`.
    """

    @jax.jit
    @in_float32
    def margins(episode: Episode) -> tuple[jax.Array, jax.Array]:
        def one_user(context: jax.Array, mask: jax.Array, queries: jax.Array) -> tuple[jax.Array, jax.Array]:
            differences = (context[:, 0] - context[:, 1]) * scale
            asked = (queries[:, 0] - queries[:, 1]) * scale
            posterior = laplace_posterior(differences, jnp.zeros(len(mask)), mask)
            return asked @ posterior.mean, posterior_variance(
                posterior.differences, posterior.precision, asked
            )

        return jax.vmap(one_user)(episode.context, episode.context_mask, episode.queries)

    def on_host(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
        mean, variance = margins(episode)
        return np.asarray(mean), np.asarray(variance)

    return on_host


def per_user_logistic(features: np.ndarray, amplitude: float = LOGISTIC_AMPLITUDE) -> Margins:
    """L2 logistic regression on features standardised over `features [N, F]`."""
    deviation = np.maximum(features.std(0), 1e-6)
    return linear_margins((amplitude / deviation / features.shape[1] ** 0.5).astype(np.float32))


def isotropic_gp(features: np.ndarray, amplitude: float = ISOTROPIC_AMPLITUDE) -> Margins:
    """Preferential Gaussian process with the features themselves as feature map and no population reward."""
    width = features.shape[1]
    return linear_margins(np.full(width, amplitude / width**0.5, np.float32))
