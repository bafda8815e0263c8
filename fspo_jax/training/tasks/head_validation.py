"""Meta-validation: log loss and accuracy on users that are not trained on, at several numbers of shots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fspo_jax.config import TrainConfig
from fspo_jax.data.episodes import EpisodeTable, evaluation_episodes
from fspo_jax.errors import DataError
from fspo_jax.losses import bradley_terry, probit_scale
from fspo_jax.models.scorers.contract import Params, Scorer, query_margins
from fspo_jax.partitioning import replicated
from fspo_jax.training.tasks.head_step import gather, masked_mean
from fspo_jax.types import Episode

QUERIES = 16
"""Largest number of queries per meta-validation user."""

CHUNK = 128
"""Number of users whose features are on the device at a time."""


def validation_shots(max_context: int) -> tuple[int, ...]:
    """Returns the numbers of shots: none, an eighth, a half and all of `max_context`."""
    return tuple(sorted({0, max_context // 8, max_context // 2, max_context}))


def validation_episodes(config: TrainConfig, table: EpisodeTable, queries: int) -> Episode:
    """Draws one fixed episode for each meta-validation user who has a query, as numpy arrays.

    Raises:
        DataError: No user has enough pairs for a query.
    """
    episode = evaluation_episodes(
        table, max_context=config.episodes.max_context, queries=queries, seed=config.data.split_seed
    )
    kept = np.asarray(episode.query_mask).any(-1)
    if not kept.any():
        raise DataError(
            f"none of the {len(table.counts)} meta-validation users has enough pairs for a query. Raise "
            "'data.validation_fraction', or give users with at least 2 pairs each."
        )
    return Episode(*(np.asarray(leaf)[kept] for leaf in episode))


def named_metrics(shots: Sequence[int], loss: np.ndarray, accuracy: np.ndarray) -> dict[str, float]:
    """Names the means over users at each number of shots, and adds the means over the numbers of shots."""
    named = {"log_loss": float(loss.mean()), "accuracy": float(accuracy.mean())}
    for i, count in enumerate(shots):
        named[f"log_loss@{count}"] = float(loss[i])
        named[f"accuracy@{count}"] = float(accuracy[i])
    return named


def make_validation(
    config: TrainConfig, scorer: Scorer, table: EpisodeTable, features: np.ndarray, mesh: Mesh
) -> Callable[..., dict[str, float]]:
    """Returns `(params, features) -> metrics` on fixed episodes of the users of `table`. `features` is the default.

    Metrics are means over users: `log_loss@K` in nats and `accuracy@K` (ties count one half) for each number of shots
    K, and their means over K, `log_loss` and `accuracy`. `log_loss` selects the model.

    Raises:
        DataError: No user has enough pairs for a query.
    """
    shots = validation_shots(config.episodes.max_context)
    chunks = jax.tree.map(_chunked, validation_episodes(config, table, QUERIES))
    chunks, features, counts = jax.device_put((chunks, features, np.array(shots)), replicated(mesh))
    rows_of = scorer._replace(represent=lambda params, rows: rows)

    @jax.jit
    def measure(
        params: Params, chunks: Episode, features: jax.Array, counts: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        def of_chunk(chunk: Episode) -> tuple[jax.Array, jax.Array]:
            pairs = gather(chunk, features)
            rows = pairs._replace(
                context=scorer.represent(params, pairs.context),
                queries=scorer.represent(params, pairs.queries),
            )

            def of_shots(count: jax.Array) -> tuple[jax.Array, jax.Array]:
                mask = rows.context_mask & (jnp.arange(rows.context_mask.shape[1]) < count)
                margins = probit_scale(*query_margins(rows_of, params, rows._replace(context_mask=mask)))
                accuracy = jnp.where(margins == 0.0, 0.5, margins > 0.0)
                return (
                    masked_mean(bradley_terry(margins), rows.query_mask, axis=-1),
                    masked_mean(accuracy, rows.query_mask, axis=-1),
                )

            return jax.lax.map(of_shots, counts)

        losses, accuracies = jax.lax.map(of_chunk, chunks)
        real = chunks.query_mask.any(-1)[:, None]  # no padding
        return tuple(jnp.where(real, value, 0.0).sum((0, 2)) / real.sum() for value in (losses, accuracies))

    def validate(params: Params, features: np.ndarray | jax.Array = features) -> dict[str, float]:
        features = jax.device_put(features, replicated(mesh))
        return named_metrics(shots, *jax.device_get(measure(params, chunks, features, counts)))

    return validate


def _chunked(leaf: np.ndarray) -> np.ndarray:
    """Reshapes `[U, ...]` to `[chunks, users per chunk, ...]`, padded with zeros (masked users)."""
    width = min(CHUNK, len(leaf))
    padding = np.zeros((-len(leaf) % width, *leaf.shape[1:]), leaf.dtype)
    padded = np.concatenate([leaf, padding])
    return padded.reshape(len(padded) // width, width, *leaf.shape[1:])
