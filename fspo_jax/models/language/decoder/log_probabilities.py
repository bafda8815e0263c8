"""Log-probabilities of response tokens, in chunks of the vocabulary so that memory stays small."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fspo_jax.models.language.decoder.attention import soft_bound
from fspo_jax.types import PackedRows

CHUNK = 8192
"""Number of vocabulary rows whose logits are in memory at a time."""


class OutputTokens(NamedTuple):
    """Some tokens of a vocabulary, whose logits stand for those of all: sampled softmax.

    The tokens that were drawn count for those that were not, so that the sum over the vocabulary is right on average.
    New draws for each batch reach the whole vocabulary.

    Attributes:
        known: All targets, ascending, `int32 [K]`.
        drawn: Others, drawn at random without replacement, `int32 [S]`.

    Source: Jean et al. (2015), On using very large target vocabulary, arXiv 1412.2007; uniform draws.
    """

    known: jax.Array
    drawn: jax.Array


def token_log_probabilities(
    hidden: jax.Array,
    matrix: jax.Array,
    targets: jax.Array,
    chunk: int = CHUNK,
    softcap: float = 0.0,
    among: OutputTokens | None = None,
) -> jax.Array:
    """Log-probability of each target, `float32 [N]`.

    The normaliser is accumulated over chunks of the vocabulary and computed again in the backward pass, so at most
    `N x chunk` logits are in memory.

    Args:
        hidden: `[N, D]`, the state from which each target is predicted.
        matrix: `[V, D]`, the output matrix.
        targets: `int32 [N]`.
        chunk: Number of rows of the matrix per chunk.
        softcap: Bound of the logits, `Architecture.logit_softcap`.
        among: The tokens that the normaliser is estimated from; None for the whole vocabulary.
    """
    chosen = jnp.einsum(
        "nd,nd->n", hidden, matrix[targets].astype(hidden.dtype), preferred_element_type=jnp.float32
    )
    counted = jnp.zeros(len(matrix))
    if among is not None:
        sizes = len(among.known), len(among.drawn)
        each = math.log(max(len(matrix) - sizes[0], 1) / max(sizes[1], 1))
        counted = jnp.concatenate([jnp.zeros(sizes[0]), jnp.full(sizes[1], each)])
        matrix = matrix[jnp.concatenate(among)]
    vocabulary = len(matrix)
    count = -(-vocabulary // chunk)
    size = -(-vocabulary // count)
    matrix = matrix.astype(hidden.dtype)
    room = count * size - vocabulary
    padded = jnp.pad(matrix, ((0, room), (0, 0))).reshape(count, size, -1)
    counted = jnp.pad(counted, (0, room), constant_values=-jnp.inf).reshape(count, size)

    @jax.checkpoint
    def add(
        carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        largest, total = carry
        rows, times = part
        logits = jnp.einsum("nd,vd->nv", hidden, rows, preferred_element_type=jnp.float32)
        logits = soft_bound(logits, softcap) + times
        higher = jax.lax.stop_gradient(jnp.maximum(largest, logits.max(-1)))
        total = total * jnp.exp(largest - higher) + jnp.exp(logits - higher[:, None]).sum(-1)
        return (higher, total), None

    start = jnp.full(len(hidden), -1e30, jnp.float32), jnp.zeros(len(hidden), jnp.float32)
    (largest, total), _ = jax.lax.scan(add, start, (padded, counted))
    return soft_bound(chosen, softcap) - largest - jnp.log(total)


def response_log_probabilities(
    hidden: jax.Array,
    matrix: jax.Array,
    rows: PackedRows,
    softcap: float = 0.0,
    among: OutputTokens | None = None,
) -> jax.Array:
    """Summed log-probability of every response, `float32 [R, P, 2]`, in nats.

    Args:
        hidden: `[R, T, D]`.
        matrix: `[V, D]`.
        rows: Which tokens belong to which response.
        softcap, among: As in `token_log_probabilities`.
    """
    states = jnp.take_along_axis(hidden, rows.predictors[..., None], axis=1)
    tokens = token_log_probabilities(
        states.reshape(-1, states.shape[-1]), matrix, rows.targets.reshape(-1), softcap=softcap, among=among
    ).reshape(rows.targets.shape)
    return sum_by_owner(tokens, rows)


def sum_by_owner(tokens: jax.Array, rows: PackedRows) -> jax.Array:
    """Sums values of response tokens, `[R, N]`, by response: `[R, P, 2]`."""
    pairs = rows.ends.shape[1]
    sums = jax.vmap(lambda values, owners: jax.ops.segment_sum(values, owners, 2 * pairs + 1))
    return sums(tokens, rows.owners)[:, :-1].reshape(-1, pairs, 2)
