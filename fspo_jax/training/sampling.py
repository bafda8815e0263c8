"""Random episodes for training: a pure function of (seed, step), so resuming needs no position in the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.config import EpisodeConfig, TrainConfig
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.errors import DataError
from fspo_jax.training.drawing import draw_pairs
from fspo_jax.training.drawn_communities import CommunityRows, PickCommunities, PickPlaces, community_sampler
from fspo_jax.training.state import random_keys
from fspo_jax.types import Episode

_GIVEN, _OTHER_USER, _OTHER_PAIRS, _COMMUNITY = 2**31 - 1, 2**31 - 2, 2**31 - 3, 2**31 - 4
"""Folded into the key of a step, for random choices that only some runs need."""

PickUsers = Callable[[jax.Array, jax.Array], jax.Array]
"""Maps a random key and users, `int32 [B]`, to one user for each of them."""


class SampledEpisodes(NamedTuple):
    """A batch of episodes and their users.

    Attributes:
        episode: Feature rows, `context int32 [B, max_context, 2]` and `queries int32 [B, Q, 2]`, with masks.
        users: `int32 [B]`, the users who answered the queries.
        given: `bool [B]`, whether the user's description is given to a model that reads descriptions. Half of them are.
        community: Pairs of other people of the same source, if the run has communities. Community c belongs to the c-th
            of C equal parts of the episodes.
    """

    episode: Episode
    users: jax.Array
    given: jax.Array
    community: CommunityRows | None = None


Sampler = Callable[[jax.Array, EpisodeTable], SampledEpisodes]
"""Maps the number of a step and the table of pairs to the episodes of that step. Pure, for use inside jit."""


def make_sampler(config: TrainConfig, table: EpisodeTable) -> Sampler:
    """Returns the episodes of a run as a function of the step.

    Args:
        config: Seed and shape of the episodes.
        table: The pairs, on the host. The sampler gets them again as an argument, on the devices.

    Raises:
        DataError: `episodes.mismatched` is set, but a source has only one user.
    """
    key = random_keys(config.seed)[1]
    shape, cohort = config.episodes, config.data.cohort
    pick_other = other_users(_groups(table, cohort)) if shape.mismatched else None
    communities = community_sampler(table, shape) if shape.communities else None

    def sample(step: jax.Array, table: EpisodeTable) -> SampledEpisodes:
        return sample_episodes(
            jax.random.fold_in(key, step),
            table,
            shape,
            cohort=cohort,
            pick_other=pick_other,
            communities=communities,
        )

    return sample


def sample_episodes(
    key: jax.Array,
    table: EpisodeTable,
    shape: EpisodeConfig,
    *,
    cohort: int = 0,
    pick_other: PickUsers | None = None,
    communities: tuple[PickPlaces, PickCommunities] | None = None,
) -> SampledEpisodes:
    """Draws a batch of episodes. Pure, for use inside jit.

    For each episode: a user is drawn by weight, then up to `2 (max_context + queries)` of their pairs without
    replacement, then K from 0 to max_context (at most the number of pairs minus one). The first K pairs are the
    context. Of the rest, the first `queries` pairs that share no text with the context are the queries.

    Args:
        key: Random key; equal keys give equal episodes on any number of devices.
        table: The pairs.
        shape: Sizes of the episodes, and probabilities of zero shots and flipped labels.
        cohort: If not 0, all users of a step come from one block of this many neighbouring users of the table.
        pick_other: Picks the user whose pairs replace a user's own as context; None keeps the own pairs.
        communities: Draw users by source, and the communities of `SampledEpisodes`; None for users by weight alone.
    """
    pool = 2 * (shape.max_context + shape.queries)
    user_key, pair_key, shot_key, zero_key, flip_key = jax.random.split(key, 5)
    places = None if communities is None else communities[0](user_key)
    users = (
        _sample_users(user_key, table, shape.batch_size, cohort) if places is None else places[1].reshape(-1)
    )

    pairs, valid = draw_pairs(pair_key, table, users, pool)
    shots = jax.random.randint(shot_key, (shape.batch_size,), 0, shape.max_context + 1)
    shots = jnp.minimum(shots, valid.sum(-1) - 1)
    zero = jax.random.bernoulli(zero_key, float(shape.zero_shot_probability), shots.shape)
    shots = jnp.where(zero, 0, shots)
    context = pairs
    if pick_other is not None:
        others = pick_other(jax.random.fold_in(key, _OTHER_USER), users)
        context, of_other = draw_pairs(jax.random.fold_in(key, _OTHER_PAIRS), table, others, pool)
        shots = jnp.minimum(shots, of_other.sum(-1))

    # The first `shots` slots are the context: valid slots come first.
    context, context_mask = context[:, : shape.max_context], jnp.arange(shape.max_context) < shots[:, None]
    texts = jnp.asarray(table.texts)
    context_texts = jnp.where(context_mask[..., None], texts[context], -1).reshape(shape.batch_size, -1)
    shared = (texts[pairs][..., None] == context_texts[:, None, None, :]).any((-1, -2))
    eligible = valid & ~shared & (jnp.arange(pool) >= shots[:, None])
    order = jnp.argsort(~eligible, axis=-1, stable=True)[:, : shape.queries]
    query_pairs = jnp.take_along_axis(pairs, order[..., None], axis=1)
    query_mask = jnp.take_along_axis(eligible, order, axis=1)

    flip = jax.random.bernoulli(flip_key, float(shape.flip_probability), (shape.batch_size, 1, 1))
    context, query_pairs = (jnp.where(flip, rows[..., ::-1], rows) for rows in (context, query_pairs))
    if shape.mirrored:
        half = shape.batch_size // 2
        context, query_pairs = (
            jnp.concatenate([rows[:half], rows[:half, :, ::-1]]) for rows in (context, query_pairs)
        )
        context_mask, query_mask = (jnp.tile(mask[:half], (2, 1)) for mask in (context_mask, query_mask))
        users = jnp.tile(users[:half], 2)
    given = jax.random.bernoulli(jax.random.fold_in(key, _GIVEN), 0.5, (shape.batch_size,))
    episode, community = Episode(context, context_mask, query_pairs, query_mask), None
    if communities is not None and places is not None:
        community = communities[1](jax.random.fold_in(key, _COMMUNITY), table, *places, episode)
    return SampledEpisodes(episode, users, given, community)


def other_users(groups: np.ndarray) -> PickUsers:
    """Returns a pure function that picks, for each user, another user of the same group, all with equal probability.

    Args:
        groups: `int [U]`, the group of each user.

    Raises:
        DataError: A group has only one user.
    """
    order = np.argsort(groups, kind="stable").astype(np.int32)
    _, first, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    if sizes.min() < 2:
        raise DataError(
            "'episodes.mismatched' replaces a user's context by that of another user of the same source, but a source "
            "has only one user to train on. Add users, or leave that source out."
        )
    first, sizes = (np.repeat(values, sizes).astype(np.int32) for values in (first, sizes))
    place = np.empty_like(order)
    place[order] = np.arange(len(order), dtype=np.int32)

    def pick(key: jax.Array, users: jax.Array) -> jax.Array:
        own = jnp.asarray(place)[users]
        start, size = jnp.asarray(first)[own], jnp.asarray(sizes)[own]
        ahead = jax.random.randint(key, users.shape, 1, size)
        return jnp.asarray(order)[start + (own - start + ahead) % size]

    return pick


def _groups(table: EpisodeTable, cohort: int) -> np.ndarray:
    """Groups of users who may replace each other, `int [U]`: the sources or, if users come in cohorts, the cohorts."""
    if not cohort:
        return np.asarray(table.sources)
    users = len(table.counts)
    cohort = min(cohort, users)
    return np.arange(users // cohort * cohort) // cohort  # users of an incomplete cohort are never drawn


def _sample_users(key: jax.Array, table: EpisodeTable, batch_size: int, cohort: int) -> jax.Array:
    """Draws users `int32 [B]`; with a `cohort`, all from one block. Users of an incomplete block are not drawn."""
    if cohort:
        cohort = min(cohort, len(table.counts))
        block_key, key = jax.random.split(key)
        block = jax.random.randint(block_key, (), 0, len(table.counts) // cohort)
        return block * cohort + jax.random.randint(key, (batch_size,), 0, cohort)
    uniform = jax.random.uniform(key, (batch_size,))
    users = jnp.searchsorted(jnp.asarray(table.cumulative), uniform)
    return jnp.minimum(users, len(table.counts) - 1)
