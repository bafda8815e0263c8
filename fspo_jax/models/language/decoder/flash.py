"""Fast attention: a Pallas kernel that visits only the blocks of a row in which a token sees another.

In a row of trees most pairs of tokens do not see each other: a response sees its context, its question and itself. A
table lists, once per row, the pairs of blocks with a visible pair of tokens. The forward and the backward pass visit
these blocks with a running softmax, so that no T x T array is made. On a CPU the kernel is interpreted: exact but slow,
for tests.

Source: Dao (2023), FlashAttention-2, arXiv 2307.08691.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl

from fspo_jax.config import ATTENTION_BLOCK as BLOCK
from fspo_jax.errors import LimitError
from fspo_jax.models.language.decoder.attention import MASKED, visibility_mask
from fspo_jax.types import TokenLayout

_TRANSPOSED = (((1,), (1,)), ((), ()))
_PLAIN = (((1,), (0,)), ((), ()))
_TURNED = (((0,), (0,)), ((), ()))


class BlockTable(NamedTuple):
    """Which blocks of a row see which. N: number of blocks per row.

    Attributes:
        tokens: `int32 [B, 4, T]`, the layout's leaves.
        keys: `int32 [B, N, N]`, for each query block the key blocks that it sees, in order.
        key_count: `int32 [B, N, 1]`, how many of them are real.
        queries: `int32 [B, N, N]`, for each key block the query blocks that see it.
        query_count: `int32 [B, N, 1]`, how many of them are real.
    """

    tokens: jax.Array
    keys: jax.Array
    key_count: jax.Array
    queries: jax.Array
    query_count: jax.Array


def block_table(layout: TokenLayout) -> BlockTable:
    """Makes the table, one block of queries at a time, with at most `[B, BLOCK, T]` booleans in memory.

    Raises:
        LimitError: The row length is not a multiple of `BLOCK`.
    """
    batch, length = layout.position.shape
    if length % BLOCK:
        raise LimitError(
            f"row length {length} is not a multiple of {BLOCK}, which attention='pallas' needs. Change 'row_length'."
        )
    blocks = length // BLOCK

    def row(i: jax.Array) -> jax.Array:
        queries = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, i * BLOCK, BLOCK, 1), layout)
        earlier = (i * BLOCK + jnp.arange(BLOCK))[:, None] >= jnp.arange(length)
        seen = visibility_mask(queries, layout) & earlier
        return seen.reshape(batch, BLOCK, blocks, BLOCK).any((1, 3))

    seen = jnp.moveaxis(jax.lax.map(row, jnp.arange(blocks)), 0, 1)

    def listed(seen: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = jnp.argsort(~seen, axis=-1, stable=True).astype(jnp.int32)
        return order, seen.sum(-1, keepdims=True, dtype=jnp.int32)

    return BlockTable(jnp.stack(layout, 1), *listed(seen), *listed(seen.swapaxes(1, 2)))


def flash_attention(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    table: BlockTable,
    window: jax.Array,
    scale: float,
) -> jax.Array:
    """Equals `attention.attend` over the row itself, for tokens that are not padding.

    Args:
        queries: `[B, T, H, head_width]`; `head_width` a power of two, T a multiple of `BLOCK`.
        keys, values: `[B, T, kv_heads, head_width]`.
        table: The block table of the rows.
        window: `int32 []`, number of positions that a token sees, its own included.
        scale: Factor of the products of queries and keys.
    """
    turned = (x.transpose(0, 2, 1, 3) for x in (queries, keys, values))
    return _attention(*turned, table, jnp.reshape(window, 1), scale).transpose(0, 2, 1, 3)


def _mask(
    query: list[jax.Array], key: list[jax.Array], i: jax.Array, j: jax.Array, window: jax.Array
) -> jax.Array:
    """`bool [queries, keys]` within a pair of blocks, from the leaves of the layout, each `int32 [BLOCK]`."""
    ours, theirs = (TokenLayout(*(row[None] for row in rows)) for rows in (query, key))
    seen = visibility_mask(ours, theirs)[0]
    place = jnp.arange(BLOCK)
    earlier = (i * BLOCK + place)[:, None] >= (j * BLOCK + place)[None]
    return seen & earlier & (query[0][:, None] - key[0][None] < window)


def _rows(ref: Any, start: jax.Array) -> list[jax.Array]:
    return [ref[row, pl.ds(start, BLOCK)] for row in range(4)]


def _block(ref: Any, start: jax.Array) -> jax.Array:
    return ref[pl.ds(start, BLOCK), :]


def _dot(a: jax.Array, b: jax.Array, dimensions: Any) -> jax.Array:
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)


def _forward_kernel(
    q_ref: Any, k_ref: Any, v_ref: Any, tokens_ref: Any, list_ref: Any, count_ref: Any, window_ref: Any,
    o_ref: Any, lse_ref: Any, *, scale: float,
) -> None:  # fmt: skip
    i = pl.program_id(2)
    query, own, window = q_ref[...], _rows(tokens_ref, i * BLOCK), window_ref[0]

    def step(n: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        mixed, largest, total = carry
        j = list_ref[n]
        key, value = _block(k_ref, j * BLOCK), _block(v_ref, j * BLOCK)
        mask = _mask(own, _rows(tokens_ref, j * BLOCK), i, j, window)
        logits = jnp.where(mask, _dot(query, key, _TRANSPOSED) * scale, MASKED)
        now = jnp.maximum(largest, logits.max(1))
        shrink, weights = jnp.exp(largest - now), jnp.exp(logits - now[:, None])
        mixed = mixed * shrink[:, None] + _dot(weights.astype(value.dtype), value, _PLAIN)
        return mixed, now, total * shrink + weights.sum(1)

    start = (
        jnp.zeros(query.shape, jnp.float32),
        jnp.full(BLOCK, MASKED, jnp.float32),
        jnp.zeros(BLOCK, jnp.float32),
    )
    mixed, largest, total = jax.lax.fori_loop(0, count_ref[0], step, start)
    total = jnp.maximum(total, 1e-30)
    o_ref[...] = (mixed / total[:, None]).astype(o_ref.dtype)
    lse_ref[...] = largest + jnp.log(total)


def _query_gradient_kernel(
    q_ref: Any, k_ref: Any, v_ref: Any, do_ref: Any, lse_ref: Any, delta_ref: Any, tokens_ref: Any, list_ref: Any,
    count_ref: Any, window_ref: Any, dq_ref: Any, *, scale: float,
) -> None:  # fmt: skip
    i = pl.program_id(2)
    query, upstream, own, window = q_ref[...], do_ref[...], _rows(tokens_ref, i * BLOCK), window_ref[0]
    lse, delta = lse_ref[...], delta_ref[...]

    def step(n: jax.Array, gradient: jax.Array) -> jax.Array:
        j = list_ref[n]
        key, value = _block(k_ref, j * BLOCK), _block(v_ref, j * BLOCK)
        mask = _mask(own, _rows(tokens_ref, j * BLOCK), i, j, window)
        weights = jnp.where(mask, jnp.exp(_dot(query, key, _TRANSPOSED) * scale - lse[:, None]), 0.0)
        change = weights * (_dot(upstream, value, _TRANSPOSED) - delta[:, None]) * scale
        return gradient + _dot(change.astype(key.dtype), key, _PLAIN)

    gradient = jax.lax.fori_loop(0, count_ref[0], step, jnp.zeros(query.shape, jnp.float32))
    dq_ref[...] = gradient.astype(dq_ref.dtype)


def _key_gradient_kernel(
    q_ref: Any, k_ref: Any, v_ref: Any, do_ref: Any, lse_ref: Any, delta_ref: Any, tokens_ref: Any, list_ref: Any,
    count_ref: Any, window_ref: Any, dk_ref: Any, dv_ref: Any, *, scale: float,
) -> None:  # fmt: skip
    j = pl.program_id(2)
    key, value, own, window = k_ref[...], v_ref[...], _rows(tokens_ref, j * BLOCK), window_ref[0]

    def step(n: jax.Array, gradients: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        i = list_ref[n]
        here = pl.ds(i * BLOCK, BLOCK)
        query, upstream = _block(q_ref, i * BLOCK), _block(do_ref, i * BLOCK)
        mask = _mask(_rows(tokens_ref, i * BLOCK), own, i, j, window)
        logits = _dot(query, key, _TRANSPOSED) * scale
        weights = jnp.where(mask, jnp.exp(logits - lse_ref[here][:, None]), 0.0)
        change = weights * (_dot(upstream, value, _TRANSPOSED) - delta_ref[here][:, None]) * scale
        return (
            gradients[0] + _dot(change.astype(query.dtype), query, _TURNED),
            gradients[1] + _dot(weights.astype(query.dtype), upstream, _TURNED),
        )

    zero = jnp.zeros(key.shape, jnp.float32)
    of_key, of_value = jax.lax.fori_loop(0, count_ref[0], step, (zero, zero))
    dk_ref[...], dv_ref[...] = of_key.astype(dk_ref.dtype), of_value.astype(dv_ref.dtype)


def _call(kernel: Any, scale: float, inputs: dict[str, Any], shared: int, outputs: dict[str, Any]) -> Any:
    """Runs a kernel once for every (row, query head, block).

    Args:
        inputs: For each argument of the kernel the part that one program reads (a key of `parts`) and the whole array.
        shared: Number of query heads per key-value head.
        outputs: The same for results, with shapes instead of arrays.
    """
    batch, heads, length, width = inputs["q"][1].shape
    blocks = length // BLOCK
    parts = {
        "own": pl.BlockSpec((None, None, BLOCK, width), lambda b, h, i: (b, h, i, 0)),
        "whole": pl.BlockSpec((None, None, length, width), lambda b, h, i: (b, h, 0, 0)),
        "own_key": pl.BlockSpec((None, None, BLOCK, width), lambda b, h, i: (b, h // shared, i, 0)),
        "whole_key": pl.BlockSpec((None, None, length, width), lambda b, h, i: (b, h // shared, 0, 0)),
        "line": pl.BlockSpec((None, None, BLOCK), lambda b, h, i: (b, h, i)),
        "lines": pl.BlockSpec((None, None, length), lambda b, h, i: (b, h, 0)),
        "tokens": pl.BlockSpec((None, 4, length), lambda b, h, i: (b, 0, 0)),
        "list": pl.BlockSpec((None, None, blocks), lambda b, h, i: (b, i, 0)),
        "count": pl.BlockSpec((None, None, 1), lambda b, h, i: (b, i, 0)),
        "window": pl.BlockSpec((1,), lambda b, h, i: (0,)),
    }
    return pl.pallas_call(
        partial(kernel, scale=scale),
        grid=(batch, heads, blocks),
        in_specs=[parts[part] for part, _ in inputs.values()],
        out_specs=[parts[part] for part, _ in outputs.values()],
        out_shape=[shape for _, shape in outputs.values()],
        interpret=jax.default_backend() == "cpu",
        **_compiler(),
    )(*(array for _, array in inputs.values()))


def _compiler() -> dict[str, Any]:
    """Triton on a GPU; elsewhere the default of Pallas."""
    if jax.default_backend() != "gpu":
        return {}
    from jax.experimental.pallas import triton

    return {"compiler_params": triton.CompilerParams(num_warps=4, num_stages=2)}


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attention(
    q: jax.Array, k: jax.Array, v: jax.Array, table: BlockTable, window: jax.Array, scale: float
) -> jax.Array:
    return _forward(q, k, v, table, window, scale)[0]


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, table: BlockTable, window: jax.Array, scale: float
) -> tuple[jax.Array, Any]:
    shared = q.shape[1] // k.shape[1]
    out, lse = _call(
        _forward_kernel,
        scale,
        {
            "q": ("own", q),
            "k": ("whole_key", k),
            "v": ("whole_key", v),
            "tokens": ("tokens", table.tokens),
            "list": ("list", table.keys),
            "count": ("count", table.key_count),
            "window": ("window", window),
        },
        shared,
        {
            "out": ("own", jax.ShapeDtypeStruct(q.shape, q.dtype)),
            "lse": ("line", jax.ShapeDtypeStruct(q.shape[:3], jnp.float32)),
        },
    )
    return out, (q, k, v, table, window, out, lse)


def _backward(scale: float, saved: Any, upstream: jax.Array) -> tuple[Any, ...]:
    q, k, v, table, window, out, lse = saved
    shared = q.shape[1] // k.shape[1]
    delta = (out.astype(jnp.float32) * upstream.astype(jnp.float32)).sum(-1)
    like = jax.ShapeDtypeStruct(q.shape, q.dtype)
    (dq,) = _call(
        _query_gradient_kernel,
        scale,
        {
            "q": ("own", q),
            "k": ("whole_key", k),
            "v": ("whole_key", v),
            "do": ("own", upstream),
            "lse": ("line", lse),
            "delta": ("line", delta),
            "tokens": ("tokens", table.tokens),
            "list": ("list", table.keys),
            "count": ("count", table.key_count),
            "window": ("window", window),
        },
        shared,
        {"dq": ("own", like)},
    )
    dk, dv = _call(
        _key_gradient_kernel,
        scale,
        {
            "q": ("whole", q),
            "k": ("own_key", k),
            "v": ("own_key", v),
            "do": ("whole", upstream),
            "lse": ("lines", lse),
            "delta": ("lines", delta),
            "tokens": ("tokens", table.tokens),
            "list": ("list", table.queries),
            "count": ("count", table.query_count),
            "window": ("window", window),
        },
        shared,
        {"dk": ("own", like), "dv": ("own", like)},
    )

    def of_kv_head(gradient: jax.Array) -> jax.Array:
        batch, _, length, width = gradient.shape
        return gradient.reshape(batch, -1, shared, length, width).sum(2).astype(k.dtype)

    nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, jax.dtypes.float0), (table, window))
    return dq, of_kv_head(dk), of_kv_head(dv), *nothing


_attention.defvjp(_forward, _backward)
