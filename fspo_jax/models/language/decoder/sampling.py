"""Sampling of responses with the decoder, after cached keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fspo_jax.models.language.decoder.attention import KeyValues, soft_bound
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.types import TokenLayout


class Sampled(NamedTuple):
    """Sampled responses.

    Attributes:
        tokens: `int32 [N, T]`.
        lengths: `int32 [N]`, number of tokens before the end token; T where no end token was sampled.
    """

    tokens: jax.Array
    lengths: jax.Array


def sample(
    network: Decoder,
    past: Sequence[KeyValues],
    first: jax.Array,
    start: jax.Array,
    key: jax.Array,
    *,
    count: int,
    max_tokens: int,
    temperature: jax.Array,
    top_p: jax.Array,
    allowed: jax.Array,
    end_tokens: Sequence[int],
    dtype: jnp.dtype,
) -> Sampled:
    """Samples `count` responses to one question. Pure, for use inside jit.

    Args:
        past: Keys and values of the context and of the question without its last token, shared by all rows.
        first: `int32 []`, the question's last token.
        start: `int32 []`, its position.
        key: Equal keys give equal responses.
        count: N.
        max_tokens: T.
        temperature: Divides the logits. 0 takes the most probable token.
        top_p: Probability of the nucleus from which tokens are drawn, above 0 and at most 1.
        allowed: `bool [V]`, tokens that may be sampled.
        end_tokens: Each of them ends a response. They must be allowed.
        dtype: Type of the computation.
    """
    a = network.architecture
    shape = (a.layers, count, max_tokens, a.kv_heads, a.head_width)
    empty = jnp.zeros((count, max_tokens), jnp.int32)
    buffer = KeyValues(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), TokenLayout(*(empty,) * 4))
    matrix = network.output_matrix().astype(dtype)

    class Carry(NamedTuple):
        step: jax.Array
        token: jax.Array
        buffer: KeyValues
        tokens: jax.Array
        lengths: jax.Array

    def unfinished(carry: Carry) -> jax.Array:
        return (carry.step < max_tokens) & (carry.lengths == max_tokens).any()

    def step(carry: Carry) -> Carry:
        one = jnp.ones((count, 1), jnp.int32)
        layout = TokenLayout((start + carry.step) * one, one, one, one)
        hidden, own = network(carry.token[:, None], layout, (*past, carry.buffer), dtype=dtype, keep=True)
        assert own is not None

        def write(whole: jax.Array, part: jax.Array, axis: int) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(whole, part, carry.step, axis)

        buffer = KeyValues(
            write(carry.buffer.keys, own.keys, 2),
            write(carry.buffer.values, own.values, 2),
            TokenLayout(*(write(w, p, 1) for w, p in zip(carry.buffer.layout, layout, strict=True))),
        )
        logits = jnp.einsum("nd,vd->nv", hidden[:, 0], matrix, preferred_element_type=jnp.float32)
        logits = soft_bound(logits, a.logit_softcap)
        logits = jnp.where(allowed, logits, -jnp.inf)
        token = choose(jax.random.fold_in(key, carry.step), logits, temperature, top_p)
        running = carry.lengths == max_tokens
        ended = running & (jnp.isin(token, jnp.array(end_tokens)))
        return Carry(
            carry.step + 1,
            token,
            buffer,
            carry.tokens.at[:, carry.step].set(jnp.where(running, token, end_tokens[0])),
            jnp.where(ended, carry.step, carry.lengths),
        )

    begin = Carry(
        jnp.zeros((), jnp.int32),
        jnp.full(count, first, jnp.int32),
        buffer,
        jnp.full((count, max_tokens), end_tokens[0], jnp.int32),
        jnp.full(count, max_tokens, jnp.int32),
    )
    done = jax.lax.while_loop(unfinished, step, begin)
    return Sampled(done.tokens, done.lengths)


def choose(key: jax.Array, logits: jax.Array, temperature: jax.Array, top_p: jax.Array) -> jax.Array:
    """Chooses one token per row of `logits [N, V]`: the most probable at temperature 0, else a draw from the nucleus.

    The nucleus is the smallest set of most probable tokens whose total probability is at least `top_p`.

    Source: Holtzman et al. (2020), The curious case of neural text degeneration, arXiv 1904.09751.
    """
    scaled = logits / jnp.maximum(temperature, 1e-6)
    ordered = jnp.sort(scaled, axis=-1)[:, ::-1]
    before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
    # The last token of the nucleus. `before` is 0 for the first token, so the nucleus is never empty.
    smallest = jnp.where(before < top_p, ordered, jnp.inf).min(-1, keepdims=True)
    drawn = jax.random.categorical(key, jnp.where(scaled >= smallest, scaled, -jnp.inf))
    return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(jnp.int32)
