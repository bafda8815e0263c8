"""Random pairs of users, as pure functions for use inside jit."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fspo_jax.data.episodes import EpisodeTable


def draw_pairs(
    key: jax.Array, table: EpisodeTable, users: jax.Array, pool: int
) -> tuple[jax.Array, jax.Array]:
    """Draws distinct pairs of each user, valid ones first: `int32 [B, pool, 2]` and a mask `[B, pool]`."""
    slots, valid = draw_slots(key, jnp.asarray(table.counts)[users], pool)
    return jnp.asarray(table.pairs)[jnp.asarray(table.offsets)[users][:, None] + slots], valid


def draw_slots(key: jax.Array, counts: jax.Array, pool: int) -> tuple[jax.Array, jax.Array]:
    """Draws distinct positions below `counts [B]`, valid ones first: `int32 [B, pool]` and a mask.

    Users with at most `pool` pairs get a permutation of them. Users with more get `pool` independent draws without the
    repeats, which is sampling without replacement of a random number of pairs.
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
