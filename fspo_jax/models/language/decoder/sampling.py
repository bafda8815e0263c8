"""Sampling of responses with decoders, after cached keys and values, in one go or block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.attention import KeyValues, soft_bound
from fspo_jax.types import TokenLayout


class Network(Protocol):
    """What is sampled from: a `Decoder`, or one in two parts."""

    @property
    def architecture(self) -> Architecture: ...

    def __call__(
        self,
        tokens: jax.Array,
        layout: TokenLayout,
        past: Sequence[KeyValues] = (),
        *,
        dtype: jnp.dtype = jnp.float32,
        keep: bool = False,
    ) -> tuple[jax.Array, KeyValues | None]: ...

    def output_matrix(self) -> jax.Array: ...


class Read(NamedTuple):
    """What a network has read before the responses, shared by all of them.

    Attributes:
        past: Keys and values of everything but the last token.
        first: `int32 []`, the last token.
        start: `int32 []`, its position.
    """

    past: tuple[KeyValues, ...]
    first: Any
    start: Any


class Drafts(NamedTuple):
    """N responses that are being written, of at most T tokens.

    Attributes:
        step: `int32 []`, number of tokens that were drawn for each of them.
        tokens: `int32 [N, T]`.
        lengths: `int32 [N]`, number of tokens before the end token; T for a response that has not ended.
        buffers: For each network, keys and values of all tokens but the last one.
    """

    step: jax.Array
    tokens: jax.Array
    lengths: jax.Array
    buffers: tuple[KeyValues, ...]

    def copies(self, row: jax.Array, count: int) -> Drafts:
        """`count` copies of one of the responses."""

        def copied(leaf: jax.Array, axis: int) -> jax.Array:
            one = jax.lax.dynamic_index_in_dim(leaf, row, axis)
            return jnp.broadcast_to(one, (*leaf.shape[:axis], count, *leaf.shape[axis + 1 :]))

        buffers = tuple(
            KeyValues(copied(b.keys, 1), copied(b.values, 1), TokenLayout(*(copied(x, 0) for x in b.layout)))
            for b in self.buffers
        )
        return Drafts(self.step, copied(self.tokens, 0), copied(self.lengths, 0), buffers)


def empty_buffer(network: Network, count: int, size: int, dtype: jnp.dtype) -> KeyValues:
    """Room for the keys and values of `size` tokens of each of `count` responses."""
    a = network.architecture
    nothing = jnp.zeros((a.layers, count, size, a.kv_heads, a.head_width), dtype)
    return KeyValues(nothing, nothing, TokenLayout(*(jnp.zeros((count, size), jnp.int32),) * 4))


def no_drafts(networks: Sequence[Network], count: int, size: int, dtype: jnp.dtype) -> Drafts:
    """`count` empty responses with room for `size` tokens."""
    return Drafts(
        jnp.zeros((), jnp.int32),
        jnp.zeros((count, size), jnp.int32),
        jnp.full(count, size, jnp.int32),
        tuple(empty_buffer(network, count, size, dtype) for network in networks),
    )


def next_logits(
    network: Network, read: Read, buffer: KeyValues, token: jax.Array, step: jax.Array, dtype: jnp.dtype
) -> tuple[jax.Array, KeyValues]:
    """Reads one more token of each response; returns the logits of the next, `float32 [N, V]`, and the new buffer.

    Args:
        read: What stands before the responses.
        buffer: Keys and values of the `step` tokens before `token`: the last token of `read`, and then the response.
        token: `int32 [N]`.
        step: `int32 []`.
    """
    a = network.architecture
    one = jnp.ones((len(token), 1), jnp.int32)
    layout = TokenLayout((read.start + step) * one, one, one, one)
    hidden, own = network(token[:, None], layout, (*read.past, buffer), dtype=dtype, keep=True)
    assert own is not None

    def write(whole: jax.Array, part: jax.Array, axis: int) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(whole, part, step, axis)

    buffer = KeyValues(
        write(buffer.keys, own.keys, 2),
        write(buffer.values, own.values, 2),
        TokenLayout(*(write(w, p, 1) for w, p in zip(buffer.layout, layout, strict=True))),
    )
    matrix = network.output_matrix().astype(dtype)
    logits = jnp.einsum("nd,vd->nv", hidden[:, 0], matrix, preferred_element_type=jnp.float32)
    return soft_bound(logits, a.logit_softcap), buffer


def extend(
    networks: Sequence[Network],
    reads: Sequence[Read],
    drafts: Drafts,
    until: jax.Array,
    key: jax.Array,
    *,
    mix: Callable[[Sequence[jax.Array]], jax.Array],
    temperature: jax.Array,
    top_p: jax.Array,
    allowed: jax.Array,
    end_tokens: Sequence[int],
    dtype: jnp.dtype,
) -> Drafts:
    """Goes on with all responses until each has ended or has `until` tokens. Pure, for use inside jit.

    A token's draw depends on the key and its place only, so a response written in blocks equals one written at once.

    Args:
        networks: Networks that read the responses, each after what it has read.
        reads: What each of them has read.
        drafts: What is written so far.
        until: `int32 []`, number of tokens at which to stop, at most T.
        key: Equal keys give equal responses.
        mix: Turns the logits of the networks, each `float32 [N, V]`, into those that are sampled from.
        temperature: Divides the logits. 0 takes the most probable token.
        top_p: Probability of the nucleus from which tokens are drawn, above 0 and at most 1.
        allowed: `bool [V]`, tokens that may be sampled.
        end_tokens: Each of them ends a response. They must be allowed.
        dtype: Type of the computation.
    """
    size = drafts.tokens.shape[1]

    def unfinished(drafts: Drafts) -> jax.Array:
        return (drafts.step < until) & (drafts.lengths == size).any()

    def write(drafts: Drafts) -> Drafts:
        step = drafts.step
        last = jax.lax.dynamic_index_in_dim(drafts.tokens, jnp.maximum(step - 1, 0), 1, keepdims=False)
        logits, buffers = zip(
            *(
                next_logits(network, read, buffer, jnp.where(step > 0, last, read.first), step, dtype)
                for network, read, buffer in zip(networks, reads, drafts.buffers, strict=True)
            ),
            strict=True,
        )
        mixed = jnp.where(allowed, mix(logits), -jnp.inf)
        token = choose(jax.random.fold_in(key, step), mixed, temperature, top_p)
        running = drafts.lengths == size
        ended = running & jnp.isin(token, jnp.array(end_tokens))
        return Drafts(
            step + 1,
            drafts.tokens.at[:, step].set(jnp.where(running, token, end_tokens[0])),
            jnp.where(ended, step, drafts.lengths),
            buffers,
        )

    return jax.lax.while_loop(unfinished, write, drafts)


def choose(key: jax.Array, logits: jax.Array, temperature: jax.Array, top_p: jax.Array) -> jax.Array:
    """Chooses one token per row of `logits [N, V]`: the most probable at temperature 0, else a draw from the nucleus.

    The nucleus is the smallest set of most probable tokens whose total probability is at least `top_p`.

    Source: Holtzman et al. (2020), The curious case of neural text degeneration, arXiv 1904.09751.
    """
    scaled = logits / jnp.maximum(temperature, 1e-6)

    def last_of_nucleus() -> jax.Array:
        ordered = jnp.sort(scaled, axis=-1)[:, ::-1]
        before = jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) - jax.nn.softmax(ordered, axis=-1)
        # `before` is 0 for the first token, so the nucleus is never empty.
        return jnp.where(before < top_p, ordered, jnp.inf).min(-1, keepdims=True)

    # Sorting is slow, and without a nucleus not needed.
    smallest = jax.lax.cond(top_p < 1, last_of_nucleus, lambda: jnp.full((len(scaled), 1), -jnp.inf))
    drawn = jax.random.categorical(key, jnp.where(scaled >= smallest, scaled, -jnp.inf))
    return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(jnp.int32)
