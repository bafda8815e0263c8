"""Turns episodes of a table of pairs into batches of token rows, for language models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.errors import LimitError
from fspo_jax.text.packing import (
    Description,
    Packing,
    RowFormat,
    context_tokens,
    pack_episodes,
    sizes,
)
from fspo_jax.text.templates import Template
from fspo_jax.types import Episode, PackedRows, Preference, Prompt


class RowBatch(NamedTuple):
    """Episodes as rows, on the host or on the devices.

    Attributes:
        rows: The tokens.
        episode: For the Gaussian process, the places `row * P + pair` of all pairs, `int32 [B, K]` and `[B, Q]`, with
            masks; else None.
        reference: Log-probabilities of the reference, `float32 [R, P, 2]`, if they are already known; else None.
    """

    rows: PackedRows
    episode: Episode | None = None
    reference: np.ndarray | jax.Array | None = None


class Packer(NamedTuple):
    """Packs episodes of item numbers into rows of tokens.

    Attributes:
        items: (prompt, response) of each feature row of the table.
        template: Turns texts into tokens.
        form: Layout and size of rows.
        context_free: Whether pairs see no context, as the Gaussian process needs it.
        read: Turns packed rows into what the model reads.
        descriptions: Description of each user of the table; empty if the model reads none.
        reading: A block within which `read` knows the template's tokens.
        chosen_only: Whether rows leave out the rejected responses of queries, which supervised fine-tuning never reads.
    """

    items: Sequence[tuple[Prompt, str]]
    template: Template
    form: RowFormat
    context_free: bool
    read: Callable[[PackedRows], PackedRows] = lambda rows: rows
    descriptions: Sequence[str] = ()
    reading: Callable[[], AbstractContextManager[None]] = nullcontext
    chosen_only: bool = False

    def lengths(self, table: EpisodeTable) -> np.ndarray:
        """Number of tokens of each pair of a table: the question and both responses."""

        def length(chosen: int, rejected: int) -> int:
            prompt = self.items[chosen][0]
            responses = (self.template.response(prompt, self.items[i][1]) for i in (chosen, rejected))
            return len(self.template.question(prompt)) + sum(map(len, responses))

        return np.array([length(*pair) for pair in table.pairs.tolist()], int)

    def texts(self, pairs: np.ndarray, mask: np.ndarray) -> list[Preference]:
        """Turns pairs of item numbers, `int32 [N, 2]`, into preferences."""
        return [
            Preference(self.items[chosen][0], self.items[chosen][1], self.items[rejected][1])
            for chosen, rejected in pairs[mask].tolist()
        ]

    def fitted(self, batches: Iterable[RowBatch]) -> Packer:
        """Returns a packer whose rows have one shape, large enough for all these batches: one compiled program."""
        found = [sizes(batch.rows) for batch in batches]
        rows, targets, pairs = (max(column) for column in zip(*found, strict=True))
        return self._replace(form=replace(self.form, least=(rows, targets, pairs)))

    def pack(
        self, episode: Episode, users: np.ndarray | None = None, given: np.ndarray | None = None
    ) -> tuple[RowBatch, Packing]:
        """Packs a batch of episodes.

        Args:
            episode: Item numbers, `int32 [B, K, 2]` and `[B, Q, 2]`, with masks.
            users: `int32 [B]`, the users whose descriptions are used; None for no descriptions.
            given: `bool [B]`, whether the description is given or has to be predicted.
        """
        with self.reading():
            return self._pack(Episode(*map(np.asarray, episode)), users, given)

    def _pack(
        self, episode: Episode, users: np.ndarray | None, given: np.ndarray | None
    ) -> tuple[RowBatch, Packing]:
        texts = [
            (self.texts(context, context_mask), self.texts(queries, query_mask))
            for context, context_mask, queries, query_mask in zip(*episode, strict=True)
        ]
        if not self.context_free:
            described: list[Description | None] | None = None
            if self.descriptions and users is not None and given is not None:
                named = zip(users.tolist(), given.tolist(), strict=True)
                described = [
                    Description(self.descriptions[user], known) if self.descriptions[user] else None
                    for user, known in named
                ]
            packing = pack_episodes(self.template, texts, self.form, described, self.chosen_only)
            return RowBatch(self.read(packing.rows)), packing
        packing = pack_episodes(self.template, [((), [*c, *q]) for c, q in texts], self.form)
        pairs = packing.rows.ends.shape[1]
        places = [rows[:, 0] * pairs + rows[:, 1] for rows in packing.places]

        def placed(mask: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
            result = np.zeros(mask.shape, np.int32)
            result[mask] = np.concatenate(parts)
            return result

        shots = episode.context_mask.sum(1)
        return RowBatch(
            self.read(packing.rows),
            episode._replace(
                context=placed(episode.context_mask, [p[:n] for p, n in zip(places, shots, strict=True)]),
                queries=placed(episode.query_mask, [p[n:] for p, n in zip(places, shots, strict=True)]),
            ),
        ), packing


def with_room_for_pairs(packers: Sequence[Packer], tables: Sequence[EpisodeTable]) -> list[Packer]:
    """Returns packers whose contexts leave room in a row for every pair of their tables.

    If the format does not say how long contexts may be, they get all that the longest pair leaves.

    Raises:
        LimitError: Pairs do not fit into a row beside a context, or beside half a row if nothing is said.
    """
    form, context_free = packers[0].form, packers[0].context_free
    lengths = np.concatenate([packer.lengths(table) for packer, table in zip(packers, tables, strict=True)])
    bare = len(context_tokens(packers[0].template, (), form).tokens)
    least = bare if context_free else max(form.context_room, bare)
    misfits = int((lengths > form.length - least).sum())
    if misfits:
        lower = "" if context_free else ", lower 'scorer.context_length'"
        raise LimitError(
            f"{misfits:,} of {len(lengths):,} pairs do not fit into a row of {form.length:,} tokens beside a context "
            f"of {least:,}; the longest has {lengths.max():,}. Raise 'scorer.row_length'{lower}, or leave them out."
        )
    if not context_free and not form.context:
        form = replace(form, context=int(form.length - lengths.max(initial=0)))
    return [packer._replace(form=form) for packer in packers]
