"""Variational preference learning (VPL): a Gaussian latent variable of the user, inferred in one pass.

`q(z | context) = N(mu, diag sigma^2)` comes from an encoder of the set of pairs; `r(x, y, z) = s(phi) + z . g(phi)`.
The objective is the query loss plus `divergence` times the divergence of q from N(0, I). With `swap`, the penalty
`|mu(context) + mu(swapped context)|^2` trains the latent variable to change its sign when labels are swapped.

Source: Poddar et al. (2024), VPL, arXiv 2408.10075; Swap-guided preference learning (SPL).
Differs from the papers: the decoder is linear in z, so that the expectation over z has a closed form (a probit) and
nothing is sampled; at zero shots z has its prior.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import VariationalConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module


class Latent(NamedTuple):
    """Mean and variance of the user's latent variable, each `float32 [Z]`."""

    mean: jax.Array
    variance: jax.Array


class Variational(nnx.Module):
    """Embedding of responses, encoder of contexts, decoder `[s, g]`."""

    def __init__(self, features: int, config: VariationalConfig, rngs: nnx.Rngs):
        self.embed = nnx.Linear(features, config.hidden, rngs=rngs)
        self.pair = nnx.Linear(2 * config.hidden, config.hidden, rngs=rngs)
        self.moments = nnx.Linear(config.hidden, 2 * config.latent, rngs=rngs)
        self.decode = nnx.Linear(config.hidden, 1 + config.latent, use_bias=False, rngs=rngs)

    def latent(self, context: jax.Array, mask: jax.Array) -> Latent:
        """Returns the posterior, or the prior if all pairs are masked."""
        pairs = nnx.gelu(self.pair(context.reshape(len(mask), -1)))
        pooled = jnp.where(mask[:, None], pairs, 0.0).sum(0) / jnp.maximum(mask.sum(), 1)
        mean, log_variance = jnp.split(self.moments(pooled), 2)
        some = mask.any()
        return Latent(
            jnp.where(some, mean, 0.0), jnp.where(some, jnp.exp(jnp.clip(log_variance, -8, 2)), 1.0)
        )


def variational(config: VariationalConfig, features: int) -> Scorer:
    """The scorer: `representation` = embedded response `[H]`, user state = `Latent`."""
    init, bind = pure_module(lambda rngs: Variational(features, config, rngs))

    def decoded(params: Params, rows: jax.Array) -> jax.Array:
        return bind(params).decode(rows)

    def score(params: Params, latent: Latent, candidates: jax.Array) -> jax.Array:
        rewards = decoded(params, candidates)
        return rewards[:, 0] + rewards[:, 1:] @ latent.mean

    def variance(params: Params, latent: Latent, a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.square(decoded(params, a - b)[:, 1:]) @ latent.variance

    def penalty(params: Params, context: jax.Array, mask: jax.Array) -> jax.Array:
        mean, spread = bind(params).latent(context, mask)
        divergence = 0.5 * (spread + jnp.square(mean) - 1.0 - jnp.log(spread)).sum()
        swapped = bind(params).latent(context[:, ::-1], mask).mean
        return config.divergence * divergence + config.swap * jnp.square(mean + swapped).sum()

    return Scorer(
        init=init,
        represent=lambda params, features: nnx.gelu(bind(params).embed(features)),
        encode_context=lambda params, context, mask: bind(params).latent(context, mask),
        score=score,
        variance=variance,
        penalty=penalty,
    )
