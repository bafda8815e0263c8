"""From a table of pairs to batches of token rows. A batch is a function of (seed, step), so resuming is a seek."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.config import EpisodeConfig
from fspo_jax.data.episodes import EpisodeTable, sample_episodes
from fspo_jax.data.language.packing import Packing, RowFormat, pack_episodes, sizes
from fspo_jax.data.language.templates import Template
from fspo_jax.types import Episode, PackedRows, Preference, Prompt

Texts = tuple[Sequence[Preference], Sequence[Preference]]
"""Context and queries of an episode."""


FIRST_STEPS = 16
"""Steps from which a run takes the shape of its rows; later batches that need more get a program of their own."""


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
    """

    items: Sequence[tuple[Prompt, str]]
    template: Template
    form: RowFormat
    context_free: bool

    def texts(self, pairs: np.ndarray, mask: np.ndarray) -> list[Preference]:
        """Pairs of item numbers, `int32 [N, 2]`, as preferences."""
        return [
            Preference(self.items[chosen][0], self.items[chosen][1], self.items[rejected][1])
            for chosen, rejected in pairs[mask].tolist()
        ]

    def fitted(self, episodes: Iterable[Episode]) -> Packer:
        """A packer whose rows have one shape for all these episodes, and so one compiled program."""
        found = [sizes(self.pack(episode)[0].rows) for episode in episodes]
        rows, targets, pairs = (max(column) for column in zip(*found, strict=True))
        return self._replace(form=replace(self.form, least=(rows, targets, pairs)))

    def pack(self, episode: Episode) -> tuple[RowBatch, Packing]:
        """Rows of a batch of episodes of item numbers, `int32 [B, K, 2]` and `[B, Q, 2]`, with masks."""
        episode = Episode(*map(np.asarray, episode))
        texts = [
            (self.texts(context, context_mask), self.texts(queries, query_mask))
            for context, context_mask, queries, query_mask in zip(*episode, strict=True)
        ]
        if not self.context_free:
            packing = pack_episodes(self.template, texts, self.form)
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

    Attributes:
        shots, dropped_shots, tokens, row_tokens: Counts over all batches that were made: shots drawn and those that
            no row had room for, tokens with and without padding.
    """

    def __init__(self, packer: Packer, table: EpisodeTable, shape: EpisodeConfig, key: jax.Array):
        self._host = jax.local_devices(backend="cpu")[0]
        table, self._key = jax.device_put((table, key), self._host)

        @jax.jit
        def sample(key: jax.Array, step: int) -> Episode:
            return sample_episodes(
                jax.random.fold_in(key, step),
                table,
                batch_size=shape.batch_size,
                max_context=shape.max_context,
                queries=shape.queries,
                zero_shot_probability=shape.zero_shot_probability,
                flip_probability=shape.flip_probability,
            )

        self._sample = sample
        self._packer = packer.fitted(self._episode(step) for step in range(FIRST_STEPS))
        self.shots = self.dropped_shots = self.tokens = self.row_tokens = 0

    def batch(self, step: int) -> RowBatch:
        """The batch of a step, as numpy arrays."""
        episode = self._episode(step)
        batch, packing = self._packer.pack(episode)
        self.shots += int(episode.context_mask.sum())
        self.dropped_shots += packing.dropped_shots
        self.tokens += packing.tokens
        self.row_tokens += batch.rows.tokens.size
        return batch

    def _episode(self, step: int) -> Episode:
        with jax.default_device(self._host):
            return jax.device_get(self._sample(self._key, step))
