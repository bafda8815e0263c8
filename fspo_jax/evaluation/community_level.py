"""Predictions of a scorer with a level of communities, inside a community of each user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.evaluation.communities import CommunityRows, Inside
from fspo_jax.models.precision import in_float32
from fspo_jax.models.scorers.contract import CommunityPairs, Params, Scorer
from fspo_jax.types import Episode

FEW_QUERIES = 32
"""Users with up to this many queries run one compiled program, the others another."""

ITEMS_PER_BATCH = 4096


def learned_inside(scorer: Scorer, params: Params, features: np.ndarray, texts: np.ndarray) -> Inside:
    """What a scorer predicts after it has learned the community of each user.

    Args:
        scorer: A scorer with `learn`.
        params: Its parameters, without a community.
        features: `float32 [N, F]`, features of the items.
        texts: `int [N]`, text of each item.
    """
    assert scorer.learn is not None
    parts = np.split(features, range(ITEMS_PER_BATCH, len(features), ITEMS_PER_BATCH))
    items = jnp.concatenate([scorer.represent(params, jnp.asarray(part)) for part in parts])
    predict = jax.jit(lambda *arrays: _one_user(scorer, *arrays))
    text_of = jnp.asarray(texts)

    def inside(rows: CommunityRows, episodes: Sequence[Episode]) -> list[tuple[np.ndarray, np.ndarray]]:
        shape = episodes[0].query_mask.shape
        if not rows.mask.size:  # nobody: one pair that counts nothing
            rows = CommunityRows(np.zeros((shape[0], 1, 1, 2), np.int32), np.zeros((shape[0], 1, 1), bool))
        found = np.zeros((len(episodes), 2, *shape))
        contexts, masks = (
            np.stack([getattr(episode, leaf) for episode in episodes], 1)
            for leaf in ("context", "context_mask")
        )
        people = np.broadcast_to(np.arange(rows.mask.shape[1])[:, None], rows.mask.shape[1:]).reshape(-1)
        for u in range(shape[0]):
            asked = int(np.flatnonzero(episodes[0].query_mask[u]).max(initial=-1)) + 1
            padded = min(FEW_QUERIES, shape[1]) if asked <= FEW_QUERIES else shape[1]
            pairs, weights = rows.pairs[u].reshape(-1, 2), rows.mask[u].reshape(-1).astype(np.float32)
            queries = episodes[0].queries[u, :padded]
            values = predict(params, items, text_of, pairs, people, weights, contexts[u], masks[u], queries)
            found[:, :, u, :padded] = values
        return [(mean, variance) for mean, variance in found]

    return inside


@in_float32
def _one_user(
    scorer: Scorer,
    params: Params,
    items: jax.Array,
    texts: jax.Array,
    pairs: jax.Array,
    people: jax.Array,
    weights: jax.Array,
    contexts: jax.Array,
    masks: jax.Array,
    queries: jax.Array,
) -> jax.Array:
    """Means and variances of a user's queries, `[V, 2, Q]`, for V contexts `[V, K, 2]`.

    The effects of texts that the community has seen are added to the first column of what represents them.
    """
    known: Any = texts[pairs]
    prior = jnp.zeros(()) if scorer.text_variance is None else scorer.text_variance(params)
    variances = jnp.full(pairs.shape, prior, jnp.float32)
    given = CommunityPairs(items[pairs], people, weights, known, variances)
    learned = scorer.learn(params, given)  # type: ignore[misc]
    params = {**params, "community": learned.community._asdict()}

    def represented(rows: jax.Array) -> jax.Array:
        equal = texts[rows][..., None, None] == known
        equal = equal.reshape(*rows.shape, -1)
        effect = jnp.where(equal.any(-1), learned.effects.reshape(-1)[equal.argmax(-1)], 0.0)
        return items[rows].at[..., 0].add(effect)

    asked = represented(queries)

    def version(context: jax.Array, mask: jax.Array) -> jax.Array:
        state = scorer.encode_context(params, represented(context), mask)
        chosen, rejected = asked[:, 0], asked[:, 1]
        rewards = scorer.score(params, state, jnp.concatenate([chosen, rejected]))
        mean = rewards[: len(chosen)] - rewards[len(chosen) :]
        variance = jnp.zeros_like(mean)
        if scorer.variance is not None:
            variance = scorer.variance(params, state, chosen, rejected)
        return jnp.stack([mean, variance])

    return jax.vmap(version)(contexts, masks)
