"""Visibility masks between tokens, and the reference attention, which runs on every device through XLA.

A row contains one or more episodes as trees: all tokens of an episode see its context, a question sees itself, and a
response also sees its question. In the parallel layout the shots of the context do not see each other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fspo_jax.types import TokenLayout

MASKED = -1e30
"""Logit of an invisible key. It is finite, so that a row of padding gives no NaN."""


class KeyValues(NamedTuple):
    """Keys and values of tokens, of all layers or of one layer.

    Attributes:
        keys: `[L, B, S, kv_heads, head_width]`, or without L. If B is 1, all rows share them.
        values: The same shape.
        layout: The places of the tokens, each leaf `int32 [B, S]`.
    """

    keys: jax.Array
    values: jax.Array
    layout: TokenLayout


def visibility_mask(queries: TokenLayout, keys: TokenLayout) -> jax.Array:
    """`bool [B, T, S]`, whether each query token may see each key token, apart from order and window."""
    query, key = (
        jax.tree.map(lambda leaf: leaf[:, :, None], queries),
        jax.tree.map(lambda leaf: leaf[:, None], keys),
    )
    same_episode = (query.episode == key.episode) & (key.episode > 0)
    group = (query.group == key.group) | (key.group == 0) | ((key.group < 0) & (query.group > 0))
    return same_episode & group & ((key.branch == 0) | (key.branch == query.branch))


def window_mask(queries: TokenLayout, keys: TokenLayout, window: int) -> jax.Array:
    """`bool [B, T, S]`, whether a key is fewer than `window` positions before a query."""
    return queries.position[:, :, None] - keys.position[:, None] < window


def causal(length: int) -> jax.Array:
    """`bool [1, T, T]`: a token sees itself and the tokens before it."""
    return jnp.tril(jnp.ones((1, length, length), bool))


def soft_bound(x: jax.Array, bound: float) -> jax.Array:
    """`bound tanh(x / bound)`, or `x` if the bound is 0.

    Source: Gemma Team (2024), Gemma 2, arXiv 2408.00118, section 2.
    """
    return bound * jnp.tanh(x / bound) if bound else x


def attend(
    queries: jax.Array,
    parts: Sequence[tuple[jax.Array, jax.Array, jax.Array]],
    scale: float,
    softcap: float = 0.0,
) -> jax.Array:
    """Softmax attention over the keys of all parts together.

    Parts with a batch axis of 1 are shared by all rows and never copied, so a cached context costs little.

    Args:
        queries: `[B, T, H, head_width]`.
        parts: Keys and values `[B or 1, S, kv_heads, head_width]` and mask `bool [B or 1, T, S]`.
        scale: Factor of the products of queries and keys.
        softcap: Bound of the products, see `soft_bound`.

    Returns:
        `[B, T, H, head_width]`. Tokens that see nothing (padding) get arbitrary finite values.
    """
    batch, length, heads, width = queries.shape
    kv_heads = parts[0][0].shape[2]
    # (batch, heads, time, width), normalised after the value product: four times as fast on a CPU.
    queries = queries.reshape(batch, length, kv_heads, heads // kv_heads, width).transpose(0, 2, 3, 1, 4)
    found = [_partial(queries, *part, scale, softcap) for part in parts]
    largest = jax.lax.stop_gradient(jnp.stack([part.largest for part in found]).max(0))
    shares = [jnp.exp(part.largest - largest) for part in found]
    together = list(zip(shares, found, strict=True))
    total = functools.reduce(jnp.add, [share * part.total for share, part in together])
    mixed = functools.reduce(jnp.add, [share[..., None] * part.mixed for share, part in together])
    result = (mixed / total[..., None]).astype(queries.dtype)
    return result.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)


class _Partial(NamedTuple):
    """Attention over one part: largest logit and sum of weights `[B, k, g, T]`, weighted values `[B, k, g, T, d]`."""

    largest: jax.Array
    total: jax.Array
    mixed: jax.Array


def _partial(
    queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array, scale: float, softcap: float
) -> _Partial:
    # One product of shared keys with the queries of all rows. Heads come first, so that no logit is transposed.
    shared = keys.shape[0] == 1 and queries.shape[0] != 1
    if shared:
        queries, mask = queries.swapaxes(0, 1), mask[None, :, None]
        formulas, keys, values = ("kbgtd,skd->kbgts", "kbgts,skd->kbgtd"), keys[0], values[0]
    else:
        mask = mask[:, None, None]
        formulas = ("bkgtd,bskd->bkgts", "bkgts,bskd->bkgtd")
    logits = jnp.einsum(formulas[0], queries, keys, preferred_element_type=jnp.float32) * scale
    logits = soft_bound(logits, softcap)
    logits = jnp.where(mask, logits, MASKED)
    largest = jax.lax.stop_gradient(logits.max(-1))
    weights = jnp.exp(logits - largest[..., None])
    mixed = jnp.einsum(formulas[1], weights.astype(queries.dtype), values, preferred_element_type=jnp.float32)
    result = _Partial(largest, weights.sum(-1), mixed)
    return _Partial(*(leaf.swapaxes(0, 1) for leaf in result)) if shared else result
