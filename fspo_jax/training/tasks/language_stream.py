"""The training batches of a language model. A batch depends on (seed, step) only, so a run can resume anywhere."""

from __future__ import annotations

import jax

from fspo_jax.data.batches import Packer, RowBatch
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.text.packing import Packing
from fspo_jax.training.sampling import Sampler

FIRST_STEPS = 16
"""Number of first steps that decide the shape of rows. A later batch that needs more compiles its own program."""


class EpisodeStream:
    """The training batches of a run.

    Args:
        packer: Packs episodes into rows.
        table: The pairs.
        sample: Draws the episodes of a step.

    Attributes:
        shots, dropped_shots: Number of shots of all batches so far, and of those that did not fit into a row.
        tokens, row_tokens: Number of tokens of all batches so far, without and with padding.
    """

    def __init__(self, packer: Packer, table: EpisodeTable, sample: Sampler):
        self._host = jax.local_devices(backend="cpu")[0]
        self._table = jax.device_put(table, self._host)
        self._sample = jax.jit(sample)
        self._packer = packer
        self._packer = packer.fitted(self._packed(step)[0] for step in range(FIRST_STEPS))
        self.shots = self.dropped_shots = self.tokens = self.row_tokens = 0

    def batch(self, step: int) -> RowBatch:
        """Returns the batch of a step, as numpy arrays."""
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
