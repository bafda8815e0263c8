"""The posterior of many margins, and of what each column is worth, from the score and the variance of any scorer."""

from __future__ import annotations

from collections.abc import Callable

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
        scorer: The scorer. All variances are zero if it has none.
    """

    def __init__(self, scorer: Scorer):
        def variance_of(params: Params, state: UserState, differences: jax.Array) -> jax.Array:
            if scorer.variance is None:
                return jnp.zeros(len(differences))
            return scorer.variance(params, state, differences, jnp.zeros_like(differences))

        def moments(
            params: Params, state: UserState, features: jax.Array
        ) -> tuple[jax.Array, jax.Array, jax.Array]:
            rows = scorer.represent(params, features)
            rewards = scorer.score(params, state, rows.reshape(-1, rows.shape[-1])).reshape(-1, 2)
            differences = rows[:, 0] - rows[:, 1]
            return rewards, differences, variance_of(params, state, differences)

        def covariance(
            params: Params, state: UserState, differences: jax.Array, variance: jax.Array, i: jax.Array
        ) -> jax.Array:
            together = variance_of(params, state, differences + differences[i])
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


def taste_of(scorer: Scorer) -> Callable[[Params, UserState, jax.Array], tuple[jax.Array, jax.Array]]:
    """A function to the means and the deviations of what steps in the features are worth, given as `[N, F]`.

    Args:
        scorer: With a variance, and with rewards that are linear in the features.
    """

    def taste(params: Params, state: UserState, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
        assert scorer.variance is not None
        rows = scorer.represent(params, jnp.concatenate([jnp.zeros_like(steps[:1]), steps]))
        rewards = scorer.score(params, state, rows)
        nothing = jnp.broadcast_to(rows[0], rows[1:].shape)
        return rewards[1:] - rewards[0], jnp.sqrt(scorer.variance(params, state, rows[1:], nothing))

    return taste
