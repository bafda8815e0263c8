"""Closed-form fast weights (P-TTT): a linear layer whose weights are computed from the context.

`r_u(x, y) = s(phi) + g w_u . psi(phi)`. The fast weights `w_u` are the solution of a ridge regression of the labels,
+1, on the differences `psi(chosen) - psi(rejected)`. Each pair is a rank-one update of the normal equations.

Source: P-TTT (2026), personalised test-time training; Bertinetto et al. (2019), closed-form solvers in meta-learning.
Differs from the paper, as far as its summary says: there is one layer of fast weights, which is solved exactly instead
of step by step, so that the order of pairs does not matter.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import FastWeightsConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module
from fspo_jax.models.scorers.laplace import spd_inverse


class FastWeights(nnx.Module):
    """Maps features to `[s, psi]`."""

    def __init__(self, features: int, config: FastWeightsConfig, rngs: nnx.Rngs):
        self.population_hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.population = nnx.Linear(config.hidden, 1, use_bias=False, rngs=rngs)
        self.hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, config.width, use_bias=False, rngs=rngs)
        self.log_gain = nnx.Param(jnp.zeros(()))

    def __call__(self, features: jax.Array) -> jax.Array:
        population = self.population(nnx.gelu(self.population_hidden(features)))
        return jnp.concatenate([population, self.out(nnx.gelu(self.hidden(features)))], axis=-1)


def fast_weights(config: FastWeightsConfig, features: int) -> Scorer:
    """The scorer: `representation = [s, psi]`, user state = fast weights `[R]`."""
    init, bind = pure_module(lambda rngs: FastWeights(features, config, rngs))

    def encode_context(params: Params, context: jax.Array, mask: jax.Array) -> jax.Array:
        differences = jnp.where(mask[:, None], (context[:, 0] - context[:, 1])[:, 1:], 0.0)
        gram = differences @ differences.T
        solved = spd_inverse(jnp.eye(len(mask)) + gram) @ mask.astype(jnp.float32)
        return jnp.exp(params["log_gain"]) * solved @ differences

    return Scorer(
        init=init,
        represent=lambda params, features: bind(params)(features),
        encode_context=encode_context,
        score=lambda params, weights, candidates: candidates[:, 0] + candidates[:, 1:] @ weights,
        variance=None,
    )
