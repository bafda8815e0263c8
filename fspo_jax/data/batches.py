"""From a table of pairs to batches of token rows. A batch is a function of (seed, step), so resuming is a seek."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.config import EpisodeConfig
from fspo_jax.data.episodes import EpisodeTable, sample_episodes, sample_users
from fspo_jax.data.packing import (
    Description,
    Packing,
    RowFormat,
    context_tokens,
    pack_episodes,
    sizes,
)
from fspo_jax.errors import LimitError
from fspo_jax.text.templates import Template
from fspo_jax.types import Episode, PackedRows, Preference, Prompt

Texts = tuple[Sequence[Preference], Sequence[Preference]]
"""Context and queries of an episode."""


FIRST_STEPS = 16
"""Steps from which a run takes the shape of its rows; later batches that need more get a program of their own."""


GIVEN = 2**31 - 1
"""Folded into a step's key for the choice of the episodes whose description is given."""


class RowBatch(NamedTuple):
    """Episodes as rows, on the host or the devices.

    Attributes:
        rows: The tokens.
        episode: For the Gaussian process the places `row * P + pair` of all pairs, `int32 [B, K]` and `[B, Q]`, with
            masks; else None.
        reference: Log-probabilities of the reference, `float32 [R, P, 2]`, where they are known already; else None.
    """

    rows: PackedRows
    episode: Episode | None = None
    reference: np.ndarray | jax.Array | None = None


class Packer(NamedTuple):
    """Rows of token trees from episodes of item numbers.

    Attributes:
        items: (prompt, response) of each feature row of the table.
        template: How texts become tokens.
        form: How tokens become rows.
        context_free: Context pairs and queries become pairs that see no context, for the Gaussian process.
        descriptions: Of each user of the table; empty where they are not read.
    """

    items: Sequence[tuple[Prompt, str]]
    template: Template
    form: RowFormat
    context_free: bool
    descriptions: Sequence[str] = ()

    def check(self, table: EpisodeTable) -> None:
        """Raises `LimitError` unless every pair of the table fits into a row by itself, before a run begins."""
        room = self.form.length - len(context_tokens(self.template, (), self.form).tokens)
        longest = misfits = 0
        for chosen, rejected in table.pairs.tolist():
            prompt, text = self.items[chosen]
            size = len(self.template.question(prompt)) + len(self.template.response(text))
            size += len(self.template.response(self.items[rejected][1]))
            misfits += size > room
            longest = max(longest, size)
        if misfits:
            raise LimitError(
                f"{misfits:,} of {len(table.pairs):,} pairs do not fit into a row of {self.form.length:,} tokens; the "
                f"longest has {longest + self.form.length - room:,}. Raise 'scorer.row_length', or leave them out."
            )

    def texts(self, pairs: np.ndarray, mask: np.ndarray) -> list[Preference]:
        """Pairs of item numbers, `int32 [N, 2]`, as preferences."""
        return [
            Preference(self.items[chosen][0], self.items[chosen][1], self.items[rejected][1])
            for chosen, rejected in pairs[mask].tolist()
        ]

    def fitted(self, batches: Iterable[RowBatch]) -> Packer:
        """A packer whose rows have the shape that holds all these batches, and so one compiled program."""
        found = [sizes(batch.rows) for batch in batches]
        rows, targets, pairs = (max(column) for column in zip(*found, strict=True))
        return self._replace(form=replace(self.form, least=(rows, targets, pairs)))

    def pack(
        self, episode: Episode, users: np.ndarray | None = None, given: np.ndarray | None = None
    ) -> tuple[RowBatch, Packing]:
        """Rows of a batch of episodes of item numbers, `int32 [B, K, 2]` and `[B, Q, 2]`, with masks.

        Args:
            users: `int32 [B]`, whose descriptions enter; none do when None.
            given: `bool [B]`, whether a description is given or to be predicted.
        """
        episode = Episode(*map(np.asarray, episode))
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
            packing = pack_episodes(self.template, texts, self.form, described)
            return RowBatch(packing.rows), packing
        packing = pack_episodes(self.template, [((), [*c, *q]) for c, q in texts], self.form)
        pairs = packing.rows.ends.shape[1]
        places = [rows[:, 0] * pairs + rows[:, 1] for rows in packing.places]

        def placed(mask: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
            result = np.zeros(mask.shape, np.int32)
            result[mask] = np.concatenate(parts)
            return result

        shots = episode.context_mask.sum(1)
        return RowBatch(
            packing.rows,
            episode._replace(
                context=placed(episode.context_mask, [p[:n] for p, n in zip(places, shots, strict=True)]),
                queries=placed(episode.query_mask, [p[n:] for p, n in zip(places, shots, strict=True)]),
            ),
        ), packing


class EpisodeStream:
    """The training batches of a run.

    Args:
        packer: Makes rows.
        table: The pairs.
        shape: Of the episodes.
        key: Of the stream; equal keys give equal batches.
        cohort: As for `sample_users`.

    Attributes:
        shots, dropped_shots, tokens, row_tokens: Counts over all batches that were made: shots drawn and those that
            no row had room for, tokens with and without padding.
    """

    def __init__(
        self, packer: Packer, table: EpisodeTable, shape: EpisodeConfig, key: jax.Array, cohort: int = 0
    ):
        self._host = jax.local_devices(backend="cpu")[0]
        table, self._key = jax.device_put((table, key), self._host)

        @jax.jit
        def sample(key: jax.Array, step: int) -> tuple[Episode, jax.Array, jax.Array]:
            key = jax.random.fold_in(key, step)
            episode = sample_episodes(
                key,
                table,
                batch_size=shape.batch_size,
                max_context=shape.max_context,
                queries=shape.queries,
                zero_shot_probability=shape.zero_shot_probability,
                flip_probability=shape.flip_probability,
                cohort=cohort,
            )
            given = jax.random.bernoulli(jax.random.fold_in(key, GIVEN), 0.5, (shape.batch_size,))
            return episode, sample_users(key, table, shape.batch_size, cohort), given

        self._sample = sample
        self._packer = packer
        self._packer = packer.fitted(self._packed(step)[0] for step in range(FIRST_STEPS))
        self.shots = self.dropped_shots = self.tokens = self.row_tokens = 0

    def batch(self, step: int) -> RowBatch:
        """The batch of a step, as numpy arrays."""
        batch, packing = self._packed(step)
        self.shots += packing.shots
        self.dropped_shots += packing.dropped_shots
        self.tokens += packing.tokens
        self.row_tokens += batch.rows.tokens.size
        return batch

    def _packed(self, step: int) -> tuple[RowBatch, Packing]:
        with jax.default_device(self._host):
            return self._packer.pack(*jax.device_get(self._sample(self._key, step)))
