"""The table of all labelled pairs, and fixed episodes for evaluation. `training.sampling` draws random ones.

Users are ranges of a flat list of pairs. Equal response texts have the same text id, so that context and queries of an
episode can be kept free of common texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.errors import DataError
from fspo_jax.types import Episode, Prompt, User

PROLIFIC = 32
"""A user's sampling weight is the square root of their number of pairs, or of this number if they have more."""


class EpisodeTable(NamedTuple):
    """All labelled pairs of all users. P pairs, N feature rows, U users.

    Attributes:
        pairs: `int32 [P, 2]`, feature rows of (chosen, rejected), user after user.
        texts: `int32 [N]`, text id of each feature row; equal response texts have equal ids.
        offsets: `int32 [U]`, first pair of each user.
        counts: `int32 [U]`, number of pairs of each user.
        cumulative: `float32 [U]`, cumulative sampling weights, ending in 1.
        sources: `int32 [U]`, number of each user's source, in order of first appearance.
    """

    pairs: np.ndarray | jax.Array
    texts: np.ndarray | jax.Array
    offsets: np.ndarray | jax.Array
    counts: np.ndarray | jax.Array
    cumulative: np.ndarray | jax.Array
    sources: np.ndarray | jax.Array


def index_items(users: Sequence[User]) -> tuple[list[tuple[Prompt, str]], EpisodeTable]:
    """Numbers the distinct (prompt, response) items of `users`.

    Returns:
        The items, one per feature row, and the table that refers to them.

    Raises:
        DataError: There is no user, or a user without preferences.
    """
    if not users:
        raise DataError("there are no users. Check the data source and the split fractions.")
    rows: dict[tuple[Prompt, str], int] = {}
    text_ids: dict[str, int] = {}
    texts: list[int] = []
    pairs: list[tuple[int, int]] = []
    numbers: dict[str, int] = {}

    def row(prompt: Prompt, response: str) -> int:
        known = rows.setdefault((prompt, response), len(rows))
        if known == len(texts):
            texts.append(text_ids.setdefault(response, len(text_ids)))
        return known

    for user in users:
        if not user.preferences:
            raise DataError(f"user '{user.user_id}' has no preferences. Leave the user out.")
        pairs += [(row(p.prompt, p.chosen), row(p.prompt, p.rejected)) for p in user.preferences]
    counts = np.array([len(user.preferences) for user in users], np.int32)
    weights = np.sqrt(np.minimum(counts, PROLIFIC).astype(np.float64))
    table = EpisodeTable(
        pairs=np.array(pairs, np.int32),
        texts=np.array(texts, np.int32),
        offsets=(np.cumsum(counts) - counts).astype(np.int32),
        counts=counts,
        cumulative=(np.cumsum(weights) / weights.sum()).astype(np.float32),
        sources=np.array([numbers.setdefault(user.source, len(numbers)) for user in users], np.int32),
    )
    return list(rows), table


def evaluation_episodes(table: EpisodeTable, *, max_context: int, queries: int, seed: int) -> Episode:
    """Makes fixed episodes for validation and evaluation, one per user, in order.

    K shots are the first K pairs of the context. The queries are the same for all K, and share no text with the
    context. A third of a user's pairs, up to `queries`, is reserved for queries, so that users with few pairs have a
    shorter context but are still measured.

    Args:
        table: The pairs.
        max_context: Largest number of context pairs.
        queries: Largest number of queries.
        seed: Seed of the choice of context and queries.

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
