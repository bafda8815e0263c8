"""Linear models fitted to one user's own pairs: per-user logistic regression and the isotropic Gaussian process.

Both have a Gaussian prior on the weights of the features and the Bradley-Terry likelihood of the user's own pairs. They
differ in the features (standardised or not) and in the strength of the prior.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.evaluation.predict import Margins, reading_features
from fspo_jax.models.precision import in_float32
from fspo_jax.models.scorers.laplace import laplace_posterior, posterior_variance
from fspo_jax.types import Episode

LOGISTIC_AMPLITUDE = 1.0
"""Prior deviation of the whole margin of a typical pair, for standardised features: `C = 1` of common libraries
after scaling the features by the root of their number."""

ISOTROPIC_AMPLITUDE = 1.0
"""The same for features that are not standardised."""


def per_user_logistic(features: np.ndarray, known: np.ndarray, amplitude: float | None = None) -> Margins:
    """L2 logistic regression on standardised features.

    Args:
        features: `float32 [N, F]`, features of the items.
        known: `int [M]`, the rows that give the mean and deviation for standardising.
        amplitude: Prior deviation of a typical margin, in nats; `LOGISTIC_AMPLITUDE` if None.
    """
    deviation = np.maximum(features[known].std(0), 1e-6)
    strength = LOGISTIC_AMPLITUDE if amplitude is None else amplitude
    return linear_margins(features, (strength / deviation / features.shape[1] ** 0.5).astype(np.float32))


def isotropic_gp(features: np.ndarray, amplitude: float | None = None) -> Margins:
    """Preferential Gaussian process on the features themselves, without a population reward.

    Args:
        features: `float32 [N, F]`, features of the items.
        amplitude: Prior deviation of a typical margin, in nats; `ISOTROPIC_AMPLITUDE` if None.
    """
    width = features.shape[1]
    strength = ISOTROPIC_AMPLITUDE if amplitude is None else amplitude
    return linear_margins(features, np.full(width, strength / width**0.5, np.float32))


def linear_margins(features: np.ndarray, scale: np.ndarray) -> Margins:
    """Margins of `w . (features * scale)`, with `w ~ N(0, I)` fitted to each user's context.

    Args:
        features: `float32 [N, F]`, features of the items.
        scale: `float32 [F]`, factor of each feature.
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

    return reading_features(margins, features)
