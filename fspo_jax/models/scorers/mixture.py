"""Mixture of reward heads (MaxMin-RLHF): a user belongs to one of a few groups, each with its own reward.

A user's group probabilities are `p_k ~ pi_k prod_i sigmoid(margin_k(pair_i))`, the E-step of EM on their context. The
reward is the expected reward, with the variance of the mixture. The gradient of the query loss through the group
probabilities replaces the M-step. The worst-group objective is `tail_fraction` in the training config.

Source: Chakraborty et al. (2024), MaxMin-RLHF, arXiv 2402.08925.
Differs from the paper: group probabilities instead of hard clusters, trained episode by episode; the worst part of a
batch of users takes the place of the worst group.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import MixtureConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module


class Groups(NamedTuple):
    """Probabilities `float32 [M]` of the groups for one user."""

    shares: jax.Array


class Heads(nnx.Module):
    """One reward per group on a shared hidden layer, and the sizes of the groups."""

    def __init__(self, features: int, config: MixtureConfig, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, config.groups, use_bias=False, rngs=rngs)
        self.sizes = nnx.Param(jnp.zeros(config.groups))

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.out(nnx.gelu(self.hidden(features)))


def mixture(config: MixtureConfig, features: int) -> Scorer:
    """The scorer: `representation` = rewards of the groups `[M]`, user state = `Groups`."""
    init, bind = pure_module(lambda rngs: Heads(features, config, rngs))

    def encode_context(params: Params, context: jax.Array, mask: jax.Array) -> Groups:
        likelihood = jax.nn.log_sigmoid(context[:, 0] - context[:, 1])
        evidence = params["sizes"] + jnp.where(mask[:, None], likelihood, 0.0).sum(0)
        return Groups(jax.nn.softmax(evidence))

    def variance(params: Params, state: Groups, a: jax.Array, b: jax.Array) -> jax.Array:
        margins = a - b
        return jnp.maximum(jnp.square(margins) @ state.shares - jnp.square(margins @ state.shares), 0.0)

    return Scorer(
        init=init,
        represent=lambda params, features: bind(params)(features),
        encode_context=encode_context,
        score=lambda params, state, candidates: candidates @ state.shares,
        variance=variance,
    )
