"""Log-probabilities of response tokens, in chunks of the vocabulary so that memory stays small."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fspo_jax.models.language.decoder.attention import soft_bound
from fspo_jax.types import PackedRows

CHUNK = 8192
"""Number of vocabulary rows whose logits are in memory at a time."""


def token_log_probabilities(
    hidden: jax.Array, matrix: jax.Array, targets: jax.Array, chunk: int = CHUNK, softcap: float = 0.0
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
    """
    vocabulary = len(matrix)
    count = -(-vocabulary // chunk)
    size = -(-vocabulary // count)
    matrix = matrix.astype(hidden.dtype)
    padded = jnp.pad(matrix, ((0, count * size - vocabulary), (0, 0))).reshape(count, size, -1)

    @jax.checkpoint
    def add(
        carry: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        largest, total = carry
        rows, first = part
        logits = jnp.einsum("nd,vd->nv", hidden, rows, preferred_element_type=jnp.float32)
        logits = soft_bound(logits, softcap)
        logits = jnp.where(first + jnp.arange(size) < vocabulary, logits, -jnp.inf)
        higher = jax.lax.stop_gradient(jnp.maximum(largest, logits.max(-1)))
        total = total * jnp.exp(largest - higher) + jnp.exp(logits - higher[:, None]).sum(-1)
        return (higher, total), None

    start = jnp.full(len(hidden), -1e30, jnp.float32), jnp.zeros(len(hidden), jnp.float32)
    (largest, total), _ = jax.lax.scan(add, start, (padded, size * jnp.arange(count)))
    chosen = jnp.einsum("nd,nd->n", hidden, matrix[targets], preferred_element_type=jnp.float32)
    return soft_bound(chosen, softcap) - largest - jnp.log(total)


def response_log_probabilities(
    hidden: jax.Array, matrix: jax.Array, rows: PackedRows, softcap: float = 0.0
) -> jax.Array:
    """Summed log-probability of every response, `float32 [R, P, 2]`, in nats.

    Args:
        hidden: `[R, T, D]`.
        matrix: `[V, D]`.
        rows: Which tokens belong to which response.
        softcap: As in `token_log_probabilities`.
    """
    states = jnp.take_along_axis(hidden, rows.predictors[..., None], axis=1)
    tokens = token_log_probabilities(
        states.reshape(-1, states.shape[-1]), matrix, rows.targets.reshape(-1), softcap=softcap
    ).reshape(rows.targets.shape)
    return sum_by_owner(tokens, rows)


def sum_by_owner(tokens: jax.Array, rows: PackedRows) -> jax.Array:
    """Sums values of response tokens, `[R, N]`, by response: `[R, P, 2]`."""
    pairs = rows.ends.shape[1]
    sums = jax.vmap(lambda values, owners: jax.ops.segment_sum(values, owners, 2 * pairs + 1))
    return sums(tokens, rows.owners)[:, :-1].reshape(-1, pairs, 2)
