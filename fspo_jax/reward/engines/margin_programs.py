"""The posterior of many margins at once, from the score and the variance of any scorer with a posterior."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.scorers.contract import Params, Scorer, UserState
from fspo_jax.reward.engines.contract import MarginPosterior, bucket

SMALLEST = 32
"""Number of pairs of the smallest program. More pairs are padded to the next power of two."""


class MarginPrograms:
    """Compiled programs of the posterior of margins.

    A variance is a quadratic form of the difference of two representations. So the covariance of two margins is half of
    what the variance of their sum has beyond both variances, and every scorer with a variance has covariances.

    Args:
        scorer: With a variance.
    """

    def __init__(self, scorer: Scorer):
        assert scorer.variance is not None
        of_scorer = scorer.variance

        def moments(
            params: Params, state: UserState, features: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            rows = scorer.represent(params, features)
            rewards = scorer.score(params, state, rows.reshape(-1, rows.shape[-1])).reshape(-1, 2)
            differences = rows[:, 0] - rows[:, 1]
            return rewards, differences, of_scorer(params, state, differences, jnp.zeros_like(differences))

        def covariance(
            params: Params, state: UserState, differences: jax.Array, variance: jax.Array, i: jax.Array
        ) -> jax.Array:
            together = of_scorer(params, state, differences + differences[i], jnp.zeros_like(differences))
            return 0.5 * (together - variance - variance[i])

        self._moments, self._covariance = jax.jit(moments), jax.jit(covariance)

    def posterior(self, params: Params, state: UserState, features: np.ndarray) -> MarginPosterior:
        """The posterior of the margins of N pairs with `features [N, 2, F]`."""
        count = len(features)
        padded = np.zeros((bucket(count, SMALLEST), *features.shape[1:]), np.float32)
        padded[:count] = features
        rewards, differences, variance = self._moments(params, state, padded)

        def covariance(i: int) -> np.ndarray:
            return np.asarray(self._covariance(params, state, differences, variance, np.int32(i)))[:count]

        return MarginPosterior(np.asarray(rewards)[:count], np.asarray(variance)[:count], covariance)
