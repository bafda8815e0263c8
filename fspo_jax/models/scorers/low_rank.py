"""Low-rank reward basis: a user's reward is a weighted sum of a few shared base rewards.

`r_u(x, y) = w_u . V(phi)`. The basis `V` is meta-learned and then fixed; a new user's weights are fitted to their
pairs. Three methods have this form. LoRe has a linear basis and weights on the simplex. PReF has free weights with a
quadratic penalty. RFM has free weights and a basis with a hidden layer.

Source: Bose et al. (2025), LoRe, arXiv 2504.14439; Shenfeld et al. (2025), PReF, arXiv 2503.06358; Barreto et al.
(2025), RFM, arXiv 2503.17338.
Differs from the papers: the basis is trained episode by episode, through the fit of the weights, instead of alternating
with the weights of the training users; the weights at zero shots are learned, not uniform.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import LowRankConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module
from fspo_jax.models.scorers.laplace import laplace_posterior
from fspo_jax.models.scorers.simplex import fit_simplex


class Basis(nnx.Module):
    """The base rewards of a response and the weights of a user without pairs."""

    def __init__(self, features: int, config: LowRankConfig, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, config.basis_hidden, rngs=rngs) if config.basis_hidden else None
        width = config.basis_hidden or features
        self.basis = nnx.Linear(width, config.rank, use_bias=False, rngs=rngs)
        self.weights = nnx.Param(jnp.zeros(config.rank))  # logits of the weights on the simplex

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.basis(features if self.hidden is None else nnx.gelu(self.hidden(features)))


def low_rank(config: LowRankConfig, features: int) -> Scorer:
    """The scorer: `representation` = base rewards `[rank]`, user state = weights `[rank]`."""
    init, bind = pure_module(lambda rngs: Basis(features, config, rngs))

    def encode_context(params: Params, context: jax.Array, mask: jax.Array) -> jax.Array:
        differences = context[:, 0] - context[:, 1]
        start = params["weights"]
        if config.weights == "simplex":
            return fit_simplex(jnp.zeros(len(mask)), differences, mask, start)
        return start + laplace_posterior(differences, differences @ start, mask).mean

    return Scorer(
        init=init,
        represent=lambda params, features: bind(params)(features),
        encode_context=encode_context,
        score=lambda params, weights, candidates: candidates @ weights,
        variance=None,
    )
