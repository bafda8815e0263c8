"""Which token sees which, and the reference attention: the same code on every device, through XLA.

A row holds one or more episodes as trees: a context that everything in the episode sees, questions that see the
context and themselves, responses that see their question too. In the parallel layout the shots of the context do not
see each other.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fspo_jax.types import TokenLayout

MASKED = -1e30
"""Logit of a key that is not seen; finite, so that a row of padding gives no NaN."""


class KeyValues(NamedTuple):
    """Keys and values of tokens, of all layers or of one.

    Attributes:
        keys: `[L, B, S, kv_heads, head_width]`, or without L; B may be 1, shared by all rows.
        values: The same shape.
        layout: Where the tokens stand, each leaf `int32 [B, S]`.
    """

    keys: jax.Array
    values: jax.Array
    layout: TokenLayout


def visibility_mask(queries: TokenLayout, keys: TokenLayout) -> jax.Array:
    """`bool [B, T, S]`, whether each query token may see each key token, order and window aside."""
    query, key = (
        jax.tree.map(lambda leaf: leaf[:, :, None], queries),
        jax.tree.map(lambda leaf: leaf[:, None], keys),
    )
    same_episode = (query.episode == key.episode) & (key.episode > 0)
    group = (query.group == key.group) | (key.group == 0) | ((key.group < 0) & (query.group > 0))
    return same_episode & group & ((key.branch == 0) | (key.branch == query.branch))


def window_mask(queries: TokenLayout, keys: TokenLayout, window: int) -> jax.Array:
    """`bool [B, T, S]`, whether a key is fewer than `window` positions behind a query."""
    return queries.position[:, :, None] - keys.position[:, None] < window


def causal(length: int) -> jax.Array:
    """`bool [1, T, T]`: tokens of a row see no later one."""
    return jnp.tril(jnp.ones((1, length, length), bool))


def attend(
    queries: jax.Array, parts: Sequence[tuple[jax.Array, jax.Array, jax.Array]], scale: float
) -> jax.Array:
    """Softmax attention over the keys of all parts together.

    Parts with a batch axis of 1 are shared by all rows and never copied, which is what makes a cached context cheap.

    Args:
        queries: `[B, T, H, head_width]`.
        parts: Keys and values `[B or 1, S, kv_heads, head_width]` and mask `bool [B or 1, T, S]`.
        scale: Factor on the products.

    Returns:
        `[B, T, H, head_width]`; tokens that see nothing get a mean of values that means nothing.
    """
    batch, length, heads, width = queries.shape
    kv_heads = parts[0][0].shape[2]
    # (batch, heads, time, width), normalised after the value product: four times as fast on a CPU.
    queries = queries.reshape(batch, length, kv_heads, heads // kv_heads, width).transpose(0, 2, 3, 1, 4)
    found = [_partial(queries, *part, scale) for part in parts]
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
    queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array, scale: float
) -> _Partial:
    # Shared keys meet the queries of all rows in one product, with the heads in front, and no logit is transposed.
    shared = keys.shape[0] == 1 and queries.shape[0] != 1
    if shared:
        queries, mask = queries.swapaxes(0, 1), mask[None, :, None]
        formulas, keys, values = ("kbgtd,skd->kbgts", "kbgts,skd->kbgtd"), keys[0], values[0]
    else:
        mask = mask[:, None, None]
        formulas = ("bkgtd,bskd->bkgts", "bkgts,bskd->bkgtd")
    logits = jnp.einsum(formulas[0], queries, keys, preferred_element_type=jnp.float32) * scale
    logits = jnp.where(mask, logits, MASKED)
    largest = jax.lax.stop_gradient(logits.max(-1))
    weights = jnp.exp(logits - largest[..., None])
    mixed = jnp.einsum(formulas[1], weights.astype(queries.dtype), values, preferred_element_type=jnp.float32)
    result = _Partial(largest, weights.sum(-1), mixed)
    return _Partial(*(leaf.swapaxes(0, 1) for leaf in result)) if shared else result
