"""Group preference optimisation (GPO): a transformer neural process over embeddings and labels.

Every response of the context is a point with its label, +1 or -1. Candidates are points without a label. Points of the
context attend to each other. A candidate attends to them in every layer, but not to other candidates. There are no
positions, so the order of pairs does not matter.

Source: Zhao et al. (2023), GPO, arXiv 2310.11523; Nguyen and Grover (2022), transformer neural processes.
Differs from the paper: labels come from pairs instead of shares of a group's answers, and the loss is Bradley-Terry.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import GroupPreferenceConfig
from fspo_jax.models.scorers.contract import Params, Scorer, pure_module
from fspo_jax.models.scorers.set_transformer import Attention

LABELS = ((1.0,), (-1.0,))


class NeuralProcess(nnx.Module):
    """The network. Context and candidates share its layers."""

    def __init__(self, features: int, config: GroupPreferenceConfig, rngs: nnx.Rngs):
        width = config.width
        self.embed = nnx.Linear(features, width, rngs=rngs)
        self.label = nnx.Linear(1, width, use_bias=False, rngs=rngs)
        self.empty_context = nnx.Param(jax.random.normal(rngs.params(), (1, width)) * 0.02)
        self.layers = nnx.List([Attention(width, config.heads, rngs) for _ in range(config.layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.out = nnx.Linear(width, 1, use_bias=False, rngs=rngs)

    def context(self, points: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the tokens that candidates attend to in each layer, `[L, 1 + 2 K, D]`, and their mask."""
        tokens = (points + self.label(jnp.array(LABELS))).reshape(-1, points.shape[-1])
        tokens = jnp.concatenate([self.empty_context[...], tokens])
        mask = jnp.concatenate([jnp.ones(1, bool), jnp.repeat(mask, 2)])
        seen = []
        for layer in self.layers:
            seen.append(tokens)
            tokens = layer(tokens, tokens, mask)
        return jnp.stack(seen), mask

    def score(self, seen: tuple[jax.Array, jax.Array], candidates: jax.Array) -> jax.Array:
        """Returns the rewards `[C]`."""
        for layer, tokens in zip(self.layers, seen[0], strict=True):
            candidates = layer(candidates, tokens, seen[1])
        return self.out(self.norm(candidates))[:, 0]


def group_preference(config: GroupPreferenceConfig, features: int) -> Scorer:
    """The scorer: `representation` = embedded response, user state = the context's tokens in every layer."""
    init, bind = pure_module(lambda rngs: NeuralProcess(features, config, rngs))

    def represent(params: Params, features: jax.Array) -> jax.Array:
        return bind(params).embed(features)

    return Scorer(
        init=init,
        represent=represent,
        encode_context=lambda params, context, mask: bind(params).context(context, mask),
        score=lambda params, state, candidates: bind(params).score(state, candidates),
        variance=None,
    )
