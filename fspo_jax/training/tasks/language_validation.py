"""Meta-validation of a language model: log loss and accuracy on users that are not trained on."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fspo_jax.config import TrainConfig
from fspo_jax.data.batches import Packer, RowBatch
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.losses import bradley_terry
from fspo_jax.models.language.reward_model import LanguageModel
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import put_batch
from fspo_jax.training.tasks.head_validation import named_metrics, validation_episodes, validation_shots
from fspo_jax.training.tasks.language_step import References, batch_loss, batch_margins
from fspo_jax.types import Episode

USERS = 256
"""Largest number of meta-validation users, evenly spaced, because a decoder takes longer than a scorer."""

QUERIES = 8
CHUNK = 16
"""Number of users per batch of rows."""


def make_language_validation(
    config: TrainConfig, model: LanguageModel, packer: Packer, table: EpisodeTable, mesh: Mesh
) -> Callable[[Params, Params], dict[str, float]]:
    """Returns `(params, frozen) -> metrics`, as `make_validation` names them, on fixed episodes.

    For the objective `sft`, `log_loss` is the loss of the chosen response, in nats per token. The log-probabilities of
    the reference are computed at the first call and kept.

    Raises:
        DataError: No user has enough pairs for a query.
    """
    shots = validation_shots(config.episodes.max_context)
    episode = validation_episodes(config, table, QUERIES)
    users = len(episode.query_mask)
    kept = np.linspace(0, users - 1, min(USERS, users)).astype(int)
    episode = Episode(*(leaf[kept] for leaf in episode))
    starts = range(0, len(kept), CHUNK)
    chunks = [Episode(*(leaf[start : start + CHUNK] for leaf in episode)) for start in starts]

    by_shots = {
        count: [
            chunk._replace(context_mask=chunk.context_mask & (np.arange(chunk.context_mask.shape[1]) < count))
            for chunk in chunks
        ]
        for count in shots
    }
    packer = packer.fitted(packer.pack(chunk)[0] for chunks in by_shots.values() for chunk in chunks)
    batches = {count: [packer.pack(chunk)[0] for chunk in chunks] for count, chunks in by_shots.items()}
    shares = [len(chunk.query_mask) / len(kept) for chunk in chunks]

    @jax.jit
    def measure(params: Params, frozen: Params, batch: RowBatch) -> tuple[jax.Array, jax.Array]:
        margins, weights = batch_margins(model, params, frozen, batch)
        correct = jnp.where(margins == 0.0, 0.5, margins > 0.0)
        accuracy = jnp.where(weights > 0, weights * correct, 0.0).sum()
        if config.objective == "sft":
            return batch_loss(config, model, params, frozen, batch), accuracy
        return jnp.where(weights > 0, weights * bradley_terry(margins), 0.0).sum(), accuracy

    references = References(model, mesh)

    def validate(params: Params, frozen: Params) -> dict[str, float]:
        sums = np.zeros((len(shots), 2))
        for row, count in zip(sums, shots, strict=True):
            for i, (batch, share) in enumerate(zip(batches[count], shares, strict=True)):
                placed = put_batch(mesh, batch)
                if model.config.reward == "implicit":
                    placed = references.added((count, i), frozen, placed)
                row += share * np.array(jax.device_get(measure(params, frozen, placed)))
        return named_metrics(shots, *sums.T)

    return validate
