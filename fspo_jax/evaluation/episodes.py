"""Users with their pairs as rows of a table, and the fixed episodes on which they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fspo_jax.data.episodes import EpisodeTable, evaluation_episodes, index_items
from fspo_jax.types import Episode, Preference, Prompt, User


class MeasuredUsers(NamedTuple):
    """Users who have a query, with their episodes.

    Attributes:
        numbers: `int [U]`, their numbers in `People`.
        episode: Item rows, `context int32 [U, K, 2]` and `queries int32 [U, Q, 2]`, with masks.
    """

    numbers: np.ndarray
    episode: Episode


@dataclass(frozen=True)
class People:
    """Users, and their labelled pairs as rows of a list of items. All methods are measured on these rows.

    Attributes:
        users: The users, in the order of the table.
        items: (prompt, response) of each row.
        table: The pairs of each user, as rows.
    """

    users: tuple[User, ...]
    items: Sequence[tuple[Prompt, str]]
    table: EpisodeTable

    @classmethod
    def of(cls, users: Sequence[User]) -> People:
        """Numbers the items of users; raises `DataError` if there is no user, or a user has no preferences."""
        items, table = index_items(users)
        return cls(tuple(users), items, table)

    def episodes(
        self, numbers: np.ndarray | None = None, *, shots: int, queries: int, seed: int
    ) -> MeasuredUsers:
        """Draws one fixed episode per user: context pairs, and queries that share no text with them.

        Args:
            numbers: The users to draw for, `int [U]`; None for all.
            shots: Largest number of context pairs. K shots are the first K of them, so that the queries are the same
                for every K.
            queries: Largest number of queries per user.
            seed: Equal seeds give equal episodes.
        """
        numbers = np.arange(len(self.users)) if numbers is None else np.asarray(numbers)
        drawn = evaluation_episodes(
            subset(self.table, numbers), max_context=shots, queries=queries, seed=seed
        )
        kept = drawn.query_mask.any(1)
        return MeasuredUsers(numbers[kept], Episode(*(leaf[kept] for leaf in drawn)))

    def pairs_of(self, numbers: np.ndarray) -> np.ndarray:
        """Returns all pairs of some users, `int32 [P, 2]`, as rows."""
        offsets, counts = np.asarray(self.table.offsets)[numbers], np.asarray(self.table.counts)[numbers]
        places = [np.arange(o, o + c) for o, c in zip(offsets, counts, strict=True)]
        return np.asarray(self.table.pairs)[np.concatenate(places)]

    def preferences(self, pairs: np.ndarray) -> list[Preference]:
        """Returns pairs `int [N, 2]` with their texts."""
        items = self.items
        return [Preference(items[a][0], items[a][1], items[b][1]) for a, b in pairs.tolist()]


def subset(table: EpisodeTable, users: np.ndarray) -> EpisodeTable:
    """Returns the table of some users. The pairs and rows are not renumbered."""
    cumulative = np.diff(np.asarray(table.cumulative, np.float64), prepend=0.0)[users].cumsum()
    return table._replace(
        offsets=np.asarray(table.offsets)[users],
        counts=np.asarray(table.counts)[users],
        sources=np.asarray(table.sources)[users],
        cumulative=(cumulative / cumulative[-1]).astype(np.float32),
    )
