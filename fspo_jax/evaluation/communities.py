"""The people around measured users: a community for each of them, and one more person as a control.

Around every measured user, other people of the same source stand in a random order. The first one is the *other
person*, whose pairs replace the user's own as a control. The next ones are the community: G people are the first G of
them, so that a community of 20 holds the community of 5. Nobody is in their own community.

In a study of fewer people the community is what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.evaluation.episodes import MeasuredUsers, People
from fspo_jax.types import Episode

OTHER_TEXTS = "other texts"
"""A kind of community: its pairs share no text with the user's queries."""

SAME_TEXTS = "same texts"
"""A kind of community: its pairs may hold any text, as in a survey."""

KINDS = (OTHER_TEXTS, SAME_TEXTS)


class CommunityRows(NamedTuple):
    """The labelled pairs of the community of each of U users.

    Attributes:
        pairs: `int32 [U, G, P, 2]`, item rows of (chosen, rejected), person by person.
        mask: `bool [U, G, P]`, false for padding.
    """

    pairs: np.ndarray
    mask: np.ndarray

    def first(self, people: int) -> CommunityRows:
        """The communities with their first people only."""
        return CommunityRows(self.pairs[:, :people], self.mask[:, :people])

    @property
    def sizes(self) -> np.ndarray:
        """Number of people with a pair in each community, `int [U]`."""
        return self.mask.any(2).sum(1)

    def of(self, user: int) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of one user's community, `int [N, 2]`, and the number of the person of each, `int [N]`."""
        mask = self.mask[user]
        return self.pairs[user][mask], np.nonzero(mask)[0]


class Neighbours(NamedTuple):
    """The people around U measured users.

    Attributes:
        communities: The largest communities, by kind.
        other: The users' episodes with the other person's pairs as context.
        has_other: `int [V]`, the users with as many pairs of another person as they have own ones.
    """

    communities: Mapping[str, CommunityRows]
    other: Episode
    has_other: np.ndarray


Inside = Callable[[CommunityRows, Sequence[Episode]], list[tuple[np.ndarray, np.ndarray]]]
"""What a method predicts inside a community of each user: maps the communities and several versions of the users'
episodes, which have the same queries, to the mean and variance of each, `[U, Q]`."""


def draw_neighbours(
    people: People, measured: MeasuredUsers, pool: np.ndarray, *, most: int, pairs: int, seed: int
) -> Neighbours:
    """Draws the people around each measured user.

    The pairs of the other person share no text with the user's queries.

    Args:
        people: The people, with the items that rows refer to.
        measured: The users, with their episodes.
        pool: Numbers of the people who may be drawn, of any source; each user gets people of the same source.
        most: Largest number of people in a community.
        pairs: Largest number of pairs of each.
        seed: Equal seeds give equal people.
    """
    table, texts = people.table, np.asarray(people.table.texts)
    offsets, counts, rows = np.asarray(table.offsets), np.asarray(table.counts), np.asarray(table.pairs)
    episode, users = measured.episode, len(measured.numbers)
    sources = np.asarray(table.sources)
    by_source = {source: pool[sources[pool] == source] for source in np.unique(sources[pool]).tolist()}
    found = {
        kind: CommunityRows(np.zeros((users, most, pairs, 2), np.int32), np.zeros((users, most, pairs), bool))
        for kind in KINDS
    }
    context, context_mask = np.array(episode.context), np.zeros_like(episode.context_mask)
    for u, number in enumerate(measured.numbers.tolist()):
        generator = np.random.default_rng([seed, number])
        asked = np.unique(texts[episode.queries[u][episode.query_mask[u]]])
        wanted, other = int(episode.context_mask[u].sum()), False
        filled = dict.fromkeys(found, 0)
        around = by_source.get(int(sources[number]), pool[:0])
        for member in generator.permutation(around[around != number]).tolist():
            if other and min(filled.values()) == most:
                break
            start = offsets[member]
            own = rows[start : start + counts[member]][generator.permutation(counts[member])]
            free = own[~np.isin(texts[own], asked).any(1)]
            if not other and len(free) >= wanted:
                context[u, :wanted], context_mask[u, :wanted], other = free[:wanted], True, True
                continue
            for kind, its in ((OTHER_TEXTS, free[:pairs]), (SAME_TEXTS, own[:pairs])):
                if len(its) and filled[kind] < most:
                    found[kind].pairs[u, filled[kind], : len(its)] = its
                    found[kind].mask[u, filled[kind], : len(its)] = True
                    filled[kind] += 1
    has_other = np.flatnonzero(context_mask.any(1))
    return Neighbours(found, episode._replace(context=context, context_mask=context_mask), has_other)
