"""Meta reward modelling (MRM): MAML on the weights of base rewards.

`r_u = w_u . R(phi)`. A new user's weights are the result of a few gradient steps on the loss of their pairs, from
meta-learned initial weights. The paper's emphasis on users who are hard to learn is `tail_fraction` in the training
config.

Source: Cai et al. (2026), MRM, arXiv 2601.18731; Finn et al. (2017), MAML.
Differs from the paper: one step size for all steps is learned; hard users are the worst part of a batch.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import MetaRewardConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module


class BaseRewards(nnx.Module):
    """The base rewards, their initial weights, and the step size."""

    def __init__(self, features: int, config: MetaRewardConfig, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, config.bases, use_bias=False, rngs=rngs)
        self.weights = nnx.Param(jnp.full(config.bases, config.bases**-0.5))
        self.log_step = nnx.Param(jnp.zeros(()))

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.out(nnx.gelu(self.hidden(features)))


def meta_reward(config: MetaRewardConfig, features: int) -> Scorer:
    """The scorer: `representation` = base rewards `[M]`, user state = weights `[M]`."""
    init, bind = pure_module(lambda rngs: BaseRewards(features, config, rngs))

    def encode_context(params: Params, context: jax.Array, mask: jax.Array) -> jax.Array:
        differences = context[:, 0] - context[:, 1]

        def misfit(weights: jax.Array) -> jax.Array:
            losses = jnp.where(mask, jax.nn.softplus(-differences @ weights), 0.0)
            return losses.sum() / jnp.maximum(mask.sum(), 1)

        weights = params["weights"]
        for _ in range(config.inner_steps):
            weights = weights - jnp.exp(params["log_step"]) * jax.grad(misfit)(weights)
        return weights

    return Scorer(
        init=init,
        represent=lambda params, features: bind(params)(features),
        encode_context=encode_context,
        score=lambda params, weights, candidates: candidates @ weights,
        variance=None,
    )
