"""Margins of queries of people inside communities, for meta-training."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fspo_jax.models.scorers.contract import CommunityPairs, Params, Scorer, query_margins
from fspo_jax.training.drawn_communities import CommunityRows
from fspo_jax.types import Episode


class RowCommunities(NamedTuple):
    """The communities of a batch of episodes, each of an equal part of them.

    Attributes:
        known: Pairs of their people.
        texts: `int32 [N]`, text id of each feature row; equal texts have equal ids.
    """

    known: CommunityRows
    texts: jax.Array


def community_margins(
    scorer: Scorer,
    params: Params,
    episode: Episode,
    *,
    rows: Episode,
    communities: RowCommunities,
    pairs: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns mean and variance of the margins of all queries, each `[B, Q]`, as `query_margins`.

    The scorer learns the community of each part of the episodes first, and the effects of its texts.

    Args:
        scorer: A scorer that learns communities.
        params: Its parameters.
        episode: Features, `context [B, K, 2, F]` and `queries [B, Q, 2, F]`, with masks.
        rows: The same as feature rows.
        communities: The C communities.
        pairs: Features of their pairs, `float32 [C, N, 2, F]`.
    """
    known, texts = communities
    learn, text_variance = scorer.learn, scorer.text_variance
    assert learn is not None and text_variance is not None
    parts = len(known.pairs)
    represented = episode._replace(
        context=scorer.represent(params, episode.context), queries=scorer.represent(params, episode.queries)
    )
    of_rows = scorer._replace(represent=lambda params, rows: rows)

    def divided(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), tree)

    def in_community(given: Any) -> tuple[jax.Array, jax.Array]:
        episode, asked, pairs, person, mask, seen = given
        variances = jnp.full(seen.shape, text_variance(params))
        weights = mask.astype(jnp.float32)
        learned = learn(params, CommunityPairs(pairs, person, weights, seen, variances))

        def effects(ids: jax.Array) -> jax.Array:
            same = (ids[..., None, None] == seen) & mask[:, None]
            return (same * learned.effects).sum((-1, -2)) / jnp.maximum(same.sum((-1, -2)), 1)

        episode = episode._replace(
            context=episode.context.at[..., 0].add(effects(asked[0])),
            queries=episode.queries.at[..., 0].add(effects(asked[1])),
        )
        inside = query_margins(of_rows, {**params, "community": learned.community._asdict()}, episode)
        outside = query_margins(of_rows, params, episode)
        return jax.tree.map(lambda known, unknown: jnp.where(mask.any(), known, unknown), inside, outside)

    asked = divided((texts[rows.context], texts[rows.queries]))
    given = (
        divided(represented),
        asked,
        scorer.represent(params, pairs),
        known.person,
        known.mask,
        texts[known.pairs],
    )
    return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), jax.lax.map(in_community, given))
