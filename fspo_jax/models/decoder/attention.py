"""Which token sees which, and the reference attention: the same code on every device, through XLA.

A row holds one or more episodes as trees: a context that everything in the episode sees, questions that see the
context and themselves, responses that see their question too. In the parallel layout the shots of the context do not
see each other.
"""

from __future__ import annotations

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


def sees(queries: TokenLayout, keys: TokenLayout) -> jax.Array:
    """`bool [B, T, S]`, whether each query token may see each key token, order and window aside."""
    query, key = (
        jax.tree.map(lambda leaf: leaf[:, :, None], queries),
        jax.tree.map(lambda leaf: leaf[:, None], keys),
    )
    same_episode = (query.episode == key.episode) & (key.episode > 0)
    group = (query.group == key.group) | (key.group == 0) | ((key.group < 0) & (query.group > 0))
    return same_episode & group & ((key.branch == 0) | (key.branch == query.branch))


def near(queries: TokenLayout, keys: TokenLayout, window: int) -> jax.Array:
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
    logits = []
    for keys, _, mask in parts:
        products = _product("bkgtd,bskd->bkgts", queries, keys, jnp.float32) * scale
        logits.append(jnp.where(mask[:, None, None], products, MASKED))
    largest = jax.lax.stop_gradient(jnp.stack([part.max(-1) for part in logits]).max(0)[..., None])
    weights = [jnp.exp(part - largest) for part in logits]
    total = jnp.stack([part.sum(-1) for part in weights]).sum(0)
    mixed = [
        _product("bkgts,bskd->bkgtd", part.astype(queries.dtype), values, jnp.float32)
        for part, (_, values, _) in zip(weights, parts, strict=True)
    ]
    result = (jnp.stack(mixed).sum(0) / total[..., None]).astype(queries.dtype)
    return result.transpose(0, 3, 1, 2, 4).reshape(batch, length, heads, width)


def _product(formula: str, a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """An einsum with batch axis `b`, which the second operand may have shared."""
    if b.shape[0] == 1 and a.shape[0] != 1:
        left, right = formula.split(",")
        formula = f"{left},{right[1:]}"
        b = b[0]
    return jnp.einsum(formula, a, b, preferred_element_type=dtype)
