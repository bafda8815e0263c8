"""Prototypical ideal points (PAL): a user likes responses near to their mixture of prototypes.

`r_u(x, y) = -|f(phi) - a_u|^2`, with the ideal point `a_u = P w_u`, shared prototypes `P` and weights `w_u` on the
simplex. Only the weights are fitted to a new user. Margins are linear in the weights:
`-(|f_c|^2 - |f_r|^2) + 2 (f_c - f_r) . P w`.

Source: Chen et al. (2024), PAL, arXiv 2406.08469, model A.
Differs from the paper: trained episode by episode through the fit of the weights; no ideal points per prompt (model B).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import PrototypesConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module
from fspo_jax.models.scorers.simplex import fit_simplex


class IdealPoints(nnx.Module):
    """The map of responses, the prototypes, and the weights of a user without pairs."""

    def __init__(self, features: int, config: PrototypesConfig, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, config.width, rngs=rngs)
        self.prototypes = nnx.Param(jax.random.normal(rngs.params(), (config.width, config.prototypes)))
        self.weights = nnx.Param(jnp.zeros(config.prototypes))

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.out(nnx.gelu(self.hidden(features)))


def prototypes(config: PrototypesConfig, features: int) -> Scorer:
    """The scorer: `representation` = position `[D]` of the response, user state = ideal point `[D]`."""
    init, bind = pure_module(lambda rngs: IdealPoints(features, config, rngs))

    def encode_context(params: Params, context: jax.Array, mask: jax.Array) -> jax.Array:
        offsets = jnp.square(context[:, 1]).sum(-1) - jnp.square(context[:, 0]).sum(-1)
        differences = 2.0 * (context[:, 0] - context[:, 1]) @ params["prototypes"]
        weights = fit_simplex(offsets, differences, mask, params["weights"])
        return params["prototypes"] @ weights

    return Scorer(
        init=init,
        represent=lambda params, features: bind(params)(features),
        encode_context=encode_context,
        score=lambda params, ideal, candidates: -jnp.square(candidates - ideal).sum(-1),
        variance=None,
    )
