"""Set transformer over the context pairs: amortised adaptation in one forward pass.

Each labelled pair becomes two tokens: the sum of the response embedding, a learned token for chosen or rejected, and
the difference of the pair. There are no positions, so the order of pairs does not matter. A learned token means 'no
context'. Candidates read the encoded context by cross-attention and do not see each other.

Source: Lee et al. (2019), Set transformer; Zhao et al. (2023), Group preference optimization, arXiv 2310.11523.
Differs from GPO: labels are part of the tokens instead of regression targets; queries do not attend to each other.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fspo_jax.config import SetTransformerConfig
from fspo_jax.models.scorers.contract import Scorer, pure_module


class Attention(nnx.Module):
    """Multi-head attention of `queries [N, D]` over `keys [M, D]` with a key mask, pre-normalised, with an MLP."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.heads = heads
        self.query_norm = nnx.LayerNorm(width, rngs=rngs)
        self.key_norm = nnx.LayerNorm(width, rngs=rngs)
        self.mlp_norm = nnx.LayerNorm(width, rngs=rngs)
        self.query = nnx.Linear(width, width, rngs=rngs)
        self.key_value = nnx.Linear(width, 2 * width, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.up = nnx.Linear(width, 2 * width, rngs=rngs)
        self.down = nnx.Linear(2 * width, width, rngs=rngs)

    def __call__(self, queries: jax.Array, keys: jax.Array, mask: jax.Array) -> jax.Array:
        head_width = queries.shape[-1] // self.heads
        keys = self.key_norm(keys)
        query = self.query(self.query_norm(queries)).reshape(-1, self.heads, head_width)
        key, value = jnp.moveaxis(self.key_value(keys).reshape(-1, 2, self.heads, head_width), 1, 0)
        logits = jnp.einsum("nhd,mhd->hnm", query, key) * head_width**-0.5
        weights = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1)
        mixed = jnp.einsum("hnm,mhd->nhd", weights, value).reshape(queries.shape)
        queries = queries + self.out(mixed)
        return queries + self.down(nnx.gelu(self.up(self.mlp_norm(queries))))


class SetTransformer(nnx.Module):
    """The network; see the module's docstring."""

    def __init__(self, features: int, config: SetTransformerConfig, rngs: nnx.Rngs):
        width, heads = config.width, config.heads
        normal = nnx.initializers.normal(0.02)
        self.embed = nnx.Linear(features, width, rngs=rngs)
        self.difference = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.labels = nnx.Param(normal(rngs.params(), (2, width)))
        self.no_context = nnx.Param(normal(rngs.params(), (1, width)))
        self.context_layers = nnx.List([Attention(width, heads, rngs) for _ in range(config.layers)])
        self.candidate_layers = nnx.List([Attention(width, heads, rngs) for _ in range(config.layers)])
        self.out_norm = nnx.LayerNorm(width, rngs=rngs)
        self.out = nnx.Linear(width, 1, use_bias=False, rngs=rngs)

    def encode_context(self, context: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the encoded context `[1 + 2 K, D]` and its mask."""
        difference = self.difference(context[:, :1] - context[:, 1:])
        tokens = context + self.labels[...] + jnp.concatenate([difference, -difference], axis=1)
        tokens = jnp.concatenate([self.no_context[...], tokens.reshape(-1, tokens.shape[-1])])
        mask = jnp.concatenate([jnp.ones(1, bool), jnp.repeat(mask, 2)])
        for layer in self.context_layers:
            tokens = layer(tokens, tokens, mask)
        return tokens, mask

    def score(self, context: tuple[jax.Array, jax.Array], candidates: jax.Array) -> jax.Array:
        """Returns rewards `[C]` of representations `[C, D]`."""
        tokens, mask = context
        for layer in self.candidate_layers:
            candidates = layer(candidates, tokens, mask)
        return self.out(self.out_norm(candidates))[:, 0]


def set_transformer(config: SetTransformerConfig, features: int) -> Scorer:
    """The scorer: `representation` = embedded response, user state = encoded context and its mask.

    Flipped labels need not reverse the personal part of the reward. Train it with `flip_probability`, and look at the
    control with flipped labels.
    """
    init, bind = pure_module(lambda rngs: SetTransformer(features, config, rngs))
    return Scorer(
        init=init,
        represent=lambda params, features: bind(params).embed(features),
        encode_context=lambda params, context, mask: bind(params).encode_context(context, mask),
        score=lambda params, state, candidates: bind(params).score(state, candidates),
        variance=None,
    )
