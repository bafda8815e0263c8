"""Communities for meta-training: pairs of other people of the same source, drawn for several episodes at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.config import EpisodeConfig
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.training.drawing import draw_pairs, draw_slots
from fspo_jax.types import Episode

NOBODY = 1 / 2
"""Probability that nobody of a community is known. Else their number is drawn from 1 to the largest."""

DISJOINT = 0.7
"""Probability that no text of a community is among the queries of its episodes. Else texts may be shared."""


class CommunityRows(NamedTuple):
    """Labelled pairs of the people of C communities: N pairs each.

    Attributes:
        pairs: `int32 [C, N, 2]`, feature rows of (chosen, rejected).
        person: `int32 [C, N]`, equal for pairs of the same person.
        mask: `bool [C, N]`.
    """

    pairs: jax.Array
    person: jax.Array
    mask: jax.Array


PickPlaces = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
"""Maps a random key to the source of each community, `int32 [C]`, and the users of its episodes, `int32 [C, B / C]`."""

PickCommunities = Callable[[jax.Array, EpisodeTable, jax.Array, jax.Array, Episode], CommunityRows]
"""Maps a random key, the table, sources, users and their episodes to the communities."""


def community_sampler(table: EpisodeTable, shape: EpisodeConfig) -> tuple[PickPlaces, PickCommunities]:
    """Returns pure functions that draw the sources and users of a step, and then their communities.

    A source is drawn with a probability proportional to the root of its number of users.

    Args:
        table: The pairs, on the host.
        shape: `batch_size`, `communities` C, and the people and pairs of a community.
    """
    sources = np.asarray(table.sources)
    order = np.argsort(sources, kind="stable").astype(np.int32)
    _, first, sizes = np.unique(sources[order], return_index=True, return_counts=True)
    cumulative = np.cumsum(np.sqrt(sizes)) / np.sqrt(sizes).sum()
    each = shape.batch_size // shape.communities
    people, pairs = shape.community_people, shape.community_pairs

    def pick_places(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.random.split(key)
        drawn = jnp.searchsorted(jnp.asarray(cumulative), jax.random.uniform(keys[0], (shape.communities,)))
        drawn = jnp.minimum(drawn, len(sizes) - 1)
        size = jnp.asarray(sizes)[drawn, None]
        place = (jax.random.uniform(keys[1], (shape.communities, each)) * size).astype(jnp.int32)
        return drawn, jnp.asarray(order)[jnp.asarray(first)[drawn, None] + jnp.minimum(place, size - 1)]

    def pick_communities(
        key: jax.Array, table: EpisodeTable, drawn: jax.Array, users: jax.Array, episode: Episode
    ) -> CommunityRows:
        people_key, pair_key, count_key, nobody_key, disjoint_key = jax.random.split(key, 5)
        count = len(drawn)
        slots, valid = draw_slots(people_key, jnp.asarray(sizes)[drawn], people + each)
        found = jnp.asarray(order)[jnp.asarray(first)[drawn, None] + slots]
        valid &= ~(found[..., None] == users[:, None, :]).any(-1)
        front = jnp.argsort(~valid, axis=-1, stable=True)[:, :people]
        found, valid = (jnp.take_along_axis(values, front, -1) for values in (found, valid))
        most = jax.random.randint(count_key, (count, 1), 1, people + 1)
        most = jnp.where(jax.random.bernoulli(nobody_key, NOBODY, (count, 1)), 0, most)
        valid &= jnp.arange(people) < most

        rows, known = draw_pairs(pair_key, table, found.reshape(-1), pairs)
        rows, known = rows.reshape(count, -1, 2), known.reshape(count, people, pairs) & valid[..., None]
        texts = jnp.asarray(table.texts)
        asked = jnp.where(episode.query_mask[..., None], texts[episode.queries], -1).reshape(count, -1)
        shared = (texts[rows][..., None] == asked[:, None, None, :]).any((-1, -2))
        disjoint = jax.random.bernoulli(disjoint_key, DISJOINT, (count, 1))
        person = jnp.broadcast_to(jnp.repeat(jnp.arange(people), pairs), (count, people * pairs))
        return CommunityRows(rows, person, known.reshape(count, -1) & ~(shared & disjoint))

    return pick_places, pick_communities
