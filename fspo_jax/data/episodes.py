"""Episodes as index arrays into a feature table: sampled inside jit for training, fixed for evaluation.

Users are stored as ranges of a flat list of pairs. Equal response texts share a text id, so that context and queries
of an episode can be kept disjoint in text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.errors import DataError
from fspo_jax.types import Episode, Prompt, User

PROLIFIC = 32
"""A user's sampling weight is the square root of their number of pairs, which counts at most this much."""


class EpisodeTable(NamedTuple):
    """All labelled pairs of all users. P pairs, N feature rows, U users.

    Attributes:
        pairs: `int32 [P, 2]`, feature rows of (chosen, rejected), user after user.
        texts: `int32 [N]`, text id of each feature row; equal response texts have equal ids.
        offsets: `int32 [U]`, first pair of each user.
        counts: `int32 [U]`, number of pairs of each user.
        cumulative: `float32 [U]`, cumulative sampling weights, ending in 1.
    """

    pairs: np.ndarray | jax.Array
    texts: np.ndarray | jax.Array
    offsets: np.ndarray | jax.Array
    counts: np.ndarray | jax.Array
    cumulative: np.ndarray | jax.Array


def index_items(users: Sequence[User]) -> tuple[list[tuple[Prompt, str]], EpisodeTable]:
    """Numbers the distinct (prompt, response) items of `users`.

    Returns:
        The items, one a feature row, and the table that refers to them.

    Raises:
        DataError: There is no user, or a user without preferences.
    """
    if not users:
        raise DataError("no users: check the data source and the split fractions.")
    rows: dict[tuple[Prompt, str], int] = {}
    text_ids: dict[str, int] = {}
    texts: list[int] = []
    pairs: list[tuple[int, int]] = []

    def row(prompt: Prompt, response: str) -> int:
        known = rows.setdefault((prompt, response), len(rows))
        if known == len(texts):
            texts.append(text_ids.setdefault(response, len(text_ids)))
        return known

    for user in users:
        if not user.preferences:
            raise DataError(f"user '{user.user_id}' has no preferences.")
        pairs += [(row(p.prompt, p.chosen), row(p.prompt, p.rejected)) for p in user.preferences]
    counts = np.array([len(user.preferences) for user in users], np.int32)
    weights = np.sqrt(np.minimum(counts, PROLIFIC).astype(np.float64))
    table = EpisodeTable(
        pairs=np.array(pairs, np.int32),
        texts=np.array(texts, np.int32),
        offsets=(np.cumsum(counts) - counts).astype(np.int32),
        counts=counts,
        cumulative=(np.cumsum(weights) / weights.sum()).astype(np.float32),
    )
    return list(rows), table


def sample_episodes(
    key: jax.Array,
    table: EpisodeTable,
    *,
    batch_size: int,
    max_context: int,
    queries: int,
    zero_shot_probability: float = 0.0,
    flip_probability: float = 0.0,
    cohort: int = 0,
) -> Episode:
    """Draws a batch of episodes; pure, for use inside jit.

    A user is drawn by weight, then up to `2 (max_context + queries)` of their pairs without replacement, K from
    0..max_context (at most all pairs but one), the first K pairs as context and the first `queries` of the rest that
    share no text with the context as queries.

    Args:
        key: Random key; equal keys give equal episodes on any number of devices.
        table: The pairs.
        batch_size: B.
        max_context: Width of the context axis and largest number of shots.
        queries: Q, width of the query axis.
        zero_shot_probability: Probability of no shots at all, whatever K was drawn.
        flip_probability: Probability of reversing every label of an episode, context and queries.
        cohort: As for `sample_users`.

    Returns:
        Feature rows, `context int32 [B, max_context, 2]` and `queries int32 [B, Q, 2]`, with masks.
    """
    pool = 2 * (max_context + queries)
    _, pair_key, shot_key, zero_key, flip_key = jax.random.split(key, 5)
    users = sample_users(key, table, batch_size, cohort)
    counts = jnp.asarray(table.counts)[users]

    slots, valid = _draw_slots(pair_key, counts, pool)
    pairs = jnp.asarray(table.pairs)[jnp.asarray(table.offsets)[users][:, None] + slots]
    available = valid.sum(-1)
    shots = jax.random.randint(shot_key, (batch_size,), 0, max_context + 1)
    shots = jnp.minimum(shots, available - 1)
    shots = jnp.where(jax.random.bernoulli(zero_key, float(zero_shot_probability), shots.shape), 0, shots)

    # Context slots are the first `shots` valid ones: valid slots stand in front.
    context, context_mask = pairs[:, :max_context], jnp.arange(max_context) < shots[:, None]
    texts = jnp.asarray(table.texts)[pairs]
    context_texts = jnp.where(context_mask[..., None], texts[:, :max_context], -1).reshape(batch_size, -1)
    shared = (texts[..., None] == context_texts[:, None, None, :]).any((-1, -2))
    eligible = valid & ~shared & (jnp.arange(pool) >= shots[:, None])
    order = jnp.argsort(~eligible, axis=-1, stable=True)[:, :queries]
    query_pairs = jnp.take_along_axis(pairs, order[..., None], axis=1)
    query_mask = jnp.take_along_axis(eligible, order, axis=1)

    flip = jax.random.bernoulli(flip_key, float(flip_probability), (batch_size, 1, 1))
    context, query_pairs = (jnp.where(flip, rows[..., ::-1], rows) for rows in (context, query_pairs))
    return Episode(context, context_mask, query_pairs, query_mask)


def sample_users(key: jax.Array, table: EpisodeTable, batch_size: int, cohort: int = 0) -> jax.Array:
    """The users, `int32 [B]`, of the episodes that `sample_episodes` draws with the same key; pure.

    With a `cohort`, all are of one block of so many users who stand side by side, drawn evenly; users that fill no
    block are not drawn.
    """
    user_key = jax.random.split(key, 5)[0]
    if cohort:
        cohort = min(cohort, len(table.counts))
        block_key, user_key = jax.random.split(user_key)
        block = jax.random.randint(block_key, (), 0, len(table.counts) // cohort)
        return block * cohort + jax.random.randint(user_key, (batch_size,), 0, cohort)
    uniform = jax.random.uniform(user_key, (batch_size,))
    users = jnp.searchsorted(jnp.asarray(table.cumulative), uniform)
    return jnp.minimum(users, len(table.counts) - 1)


def _draw_slots(key: jax.Array, counts: jax.Array, pool: int) -> tuple[jax.Array, jax.Array]:
    """Distinct positions below `counts [B]`, valid ones in front: `int32 [B, pool]` and a mask.

    Users with at most `pool` pairs get a permutation of them. Longer ones get `pool` independent draws, of which
    repeats are dropped: that is sampling without replacement of a random number of pairs.
    """
    uniform = jax.random.uniform(key, (len(counts), pool))
    position = jnp.arange(pool)
    order = jnp.argsort(jnp.where(position < counts[:, None], uniform, 2.0), axis=-1)
    drawn = jnp.minimum((uniform * counts[:, None]).astype(jnp.int32), counts[:, None] - 1)
    repeated = ((drawn[:, :, None] == drawn[:, None, :]) & (position[:, None] > position)).any(-1)
    front = jnp.argsort(repeated, axis=-1, stable=True)
    drawn, distinct = jnp.take_along_axis(drawn, front, -1), jnp.take_along_axis(~repeated, front, -1)
    short = counts[:, None] <= pool
    valid = jnp.where(short, position < counts[:, None], distinct)
    return jnp.where(valid, jnp.where(short, order, drawn), 0), valid


def evaluation_episodes(table: EpisodeTable, *, max_context: int, queries: int, seed: int) -> Episode:
    """Fixed episodes, one a user in order, for validation and evaluation.

    K shots are the first K pairs of the context, and the queries are the same for all K: they share no text with the
    whole context. A third of a user's pairs, up to `queries`, is kept back for queries before the context gets
    its share, so that users with few pairs have shorter contexts but still count.

    Returns:
        Feature rows as numpy, `context int32 [U, max_context, 2]`, `queries int32 [U, queries, 2]`, with masks.
    """
    users = len(table.counts)
    pairs, texts = np.asarray(table.pairs), np.asarray(table.texts)
    context = np.zeros((users, max_context, 2), np.int32)
    context_mask = np.zeros((users, max_context), bool)
    query = np.zeros((users, queries, 2), np.int32)
    query_mask = np.zeros((users, queries), bool)
    for u, (offset, count) in enumerate(zip(table.offsets.tolist(), table.counts.tolist(), strict=True)):
        own = pairs[offset : offset + count][np.random.default_rng([seed, u]).permutation(count)]
        shots = min(max_context, count - min(queries, -(-count // 3)))
        used = np.unique(texts[own[:shots]])
        rest = own[shots:]
        rest = rest[~np.isin(texts[rest], used).any(-1)][:queries]
        context[u, :shots], context_mask[u, :shots] = own[:shots], True
        query[u, : len(rest)], query_mask[u, : len(rest)] = rest, True
    return Episode(context, context_mask, query, query_mask)
