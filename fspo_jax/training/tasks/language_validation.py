"""Meta-validation of a language model: log loss and accuracy on users that are not trained on."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fspo_jax.config import TrainConfig
from fspo_jax.data.batches import Packer, RowBatch
from fspo_jax.data.episodes import EpisodeTable, evaluation_episodes
from fspo_jax.errors import DataError
from fspo_jax.losses import bradley_terry
from fspo_jax.models.language.reward_model import LanguageModel
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import put_batch
from fspo_jax.training.tasks.head_validation import validation_shots
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
    episode = evaluation_episodes(
        table, max_context=config.episodes.max_context, queries=QUERIES, seed=config.data.split_seed
    )
    kept = np.flatnonzero(np.asarray(episode.query_mask).any(-1))
    if not len(kept):
        raise DataError(
            f"none of the {len(table.counts)} meta-validation users has enough pairs for a query. Raise "
            "'data.validation_fraction', or give users with at least 2 pairs each."
        )
    kept = kept[np.linspace(0, len(kept) - 1, min(USERS, len(kept))).astype(int)]
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
        loss, accuracy = {}, {}
        for count in shots:
            sums = np.zeros(2)
            for i, (batch, share) in enumerate(zip(batches[count], shares, strict=True)):
                placed = put_batch(mesh, batch)
                if model.config.reward == "implicit":
                    placed = references.added((count, i), frozen, placed)
                sums += share * np.array(jax.device_get(measure(params, frozen, placed)))
            loss[count], accuracy[count] = sums
        named = {
            "log_loss": float(np.mean(list(loss.values()))),
            "accuracy": float(np.mean(list(accuracy.values()))),
        }
        for count in shots:
            named[f"log_loss@{count}"] = float(loss[count])
            named[f"accuracy@{count}"] = float(accuracy[count])
        return named

    return validate
