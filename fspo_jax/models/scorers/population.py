"""The population model: one Bradley-Terry reward for everybody, which does not read the context.

Every personalised scorer has to be better. It is trained by the same code on the same episodes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import PopulationConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module


class PopulationReward(nnx.Module):
    """The sum of a hidden layer and a linear layer."""

    def __init__(self, features: int, config: PopulationConfig, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, 1, use_bias=False, rngs=rngs)
        self.linear = nnx.Linear(
            features, 1, use_bias=False, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.out(nnx.gelu(self.hidden(features))) + self.linear(features)


def population(config: PopulationConfig, features: int) -> Scorer:
    """The scorer: `representation = [s]`, empty user state."""
    init, bind = pure_module(lambda rngs: PopulationReward(features, config, rngs))

    def represent(params: Params, features: jax.Array) -> jax.Array:
        return bind(params)(features)

    def encode_context(params: Params, context: jax.Array, mask: jax.Array) -> jax.Array:
        return jnp.zeros(())

    def score(params: Params, state: jax.Array, candidates: jax.Array) -> jax.Array:
        return candidates[:, 0]

    return Scorer(init, represent, encode_context, score, None)
