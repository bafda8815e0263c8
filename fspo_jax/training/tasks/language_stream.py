"""The training batches of a language model. A batch is a function of (seed, step), so that resuming is a seek."""

from __future__ import annotations

import jax

from fspo_jax.data.batches import Packer, RowBatch
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.data.packing import Packing
from fspo_jax.training.sampling import Sampler

FIRST_STEPS = 16
"""Steps from which a run takes the shape of its rows; later batches that need more get a program of their own."""


class EpisodeStream:
    """The training batches of a run.

    Args:
        packer: Makes rows.
        table: The pairs.
        sample: The episodes of a step.

    Attributes:
        shots, dropped_shots, tokens, row_tokens: Counts over all batches that were made: shots drawn and those that
            no row had room for, tokens with and without padding.
    """

    def __init__(self, packer: Packer, table: EpisodeTable, sample: Sampler):
        self._host = jax.local_devices(backend="cpu")[0]
        self._table = jax.device_put(table, self._host)
        self._sample = jax.jit(sample)
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
            sampled = jax.device_get(self._sample(step, self._table))
            return self._packer.pack(sampled.episode, sampled.users, sampled.given)
