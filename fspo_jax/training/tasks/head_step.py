"""Pure functions of one step of meta-training a scorer of features, and of several steps in one compiled call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from fspo_jax.config import TrainConfig
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.losses import bradley_terry, ipo, probit_scale
from fspo_jax.models.scorers.contract import Params, Scorer, query_margins
from fspo_jax.partitioning import batch_sharding, replicated
from fspo_jax.training.sampling import Sampler
from fspo_jax.training.state import StepMetrics, TrainState, next_state, random_keys
from fspo_jax.training.tasks.head_communities import RowCommunities, community_margins
from fspo_jax.types import Episode

LOSSES = {"bradley_terry": bradley_terry, "ipo": ipo}


class RowsLoss(Protocol):
    """The loss of a step."""

    def __call__(
        self,
        params: Params,
        rows: Episode,
        features: jax.Array,
        step: jax.Array,
        communities: RowCommunities | None = None,
    ) -> jax.Array:
        """Returns the loss of episodes of feature rows.

        Args:
            params: Parameters of the scorer.
            rows: The episodes.
            features: `float32 [N, F]`.
            step: Number of the step.
            communities: Those of the episodes, if the run has communities.
        """
        ...


Step = Callable[[TrainState, EpisodeTable, jax.Array], tuple[TrainState, StepMetrics]]


def gather(episode: Episode, features: jax.Array) -> Episode:
    """Replaces feature rows, `int32 [..., 2]`, by features, `float32 [..., 2, F]`."""
    return episode._replace(context=features[episode.context], queries=features[episode.queries])


def drop_features(key: jax.Array, episode: Episode, probability: float) -> Episode:
    """Sets each feature of each item to zero with `probability`, and scales the others up to keep the mean."""
    keys = jax.random.split(key)

    def drop(key: jax.Array, rows: jax.Array) -> jax.Array:
        return rows * jax.random.bernoulli(key, 1.0 - probability, rows.shape) / (1.0 - probability)

    return episode._replace(context=drop(keys[0], episode.context), queries=drop(keys[1], episode.queries))


def kept_columns(key: jax.Array, blocks: Mapping[str, int], probability: float) -> jax.Array:
    """Draws factors of the columns of features, `float32 [F]`: each block is dropped, 0, with `probability`, else 1.

    Args:
        key: Random key.
        blocks: Width of each block by name, in order.
        probability: Of each block.
    """
    kept = jax.random.bernoulli(key, 1.0 - probability, (len(blocks),)).astype(jnp.float32)
    widths = np.array([*blocks.values()])
    return jnp.repeat(kept, widths, total_repeat_length=widths.sum())


def masked_mean(values: jax.Array, mask: jax.Array, axis: int | None = None) -> jax.Array:
    """Mean of `values` where `mask` is true, along `axis`; zero where it is nowhere true."""
    return jnp.where(mask, values, 0.0).sum(axis) / jnp.maximum(mask.sum(axis), 1)


def episode_loss(
    scorer: Scorer,
    objective: Callable[[jax.Array], jax.Array],
    params: Params,
    episode: Episode,
    tail_fraction: float = 1.0,
    margins_of: Callable[[Scorer, Params, Episode], tuple[jax.Array, jax.Array]] = query_margins,
) -> jax.Array:
    """Mean loss over the queries of each episode, then over the episodes that have queries.

    Args:
        scorer: The scorer.
        objective: Loss of the margin in nats, per element.
        params: Parameters of the scorer.
        episode: Features, with masks.
        tail_fraction: Share of the episodes to average over, those with the largest losses.
        margins_of: Computes mean and variance of the margins of the queries.

    Raises:
        AssertionError: The pairs and their mask have different shapes. Shapes are checked while the program is
            compiled and cost nothing when it runs.

    Source: Rockafellar and Uryasev (2000), conditional value at risk, for the tail.
    """
    for pairs, mask in ((episode.context, episode.context_mask), (episode.queries, episode.query_mask)):
        chex.assert_shape(pairs, (*mask.shape, 2, None))
    margins = probit_scale(*margins_of(scorer, params, episode))
    losses = masked_mean(objective(margins), episode.query_mask, axis=-1)
    penalty = scorer.penalty
    if penalty is not None:
        context = scorer.represent(params, episode.context)
        losses += jax.vmap(lambda rows, mask: penalty(params, rows, mask))(context, episode.context_mask)
    real = episode.query_mask.any(-1)
    if tail_fraction == 1.0:
        return masked_mean(losses, real)
    worst, places = jax.lax.top_k(
        jnp.where(real, losses, -jnp.inf), max(1, round(tail_fraction * len(losses)))
    )
    return masked_mean(worst, real[places])


def make_loss(config: TrainConfig, scorer: Scorer, blocks: Mapping[str, int] | None = None) -> RowsLoss:
    """Returns the loss of a step, which looks features up, drops some of them and scores the episodes.

    Blocks are dropped in all episodes of a step at once, as from a reward that is loaded without them.

    Args:
        config: Seed, objective, `feature_dropout`, `block_dropout` and `tail_fraction`.
        scorer: The scorer.
        blocks: Width of each block by name, in order, for `block_dropout`; None for no such dropout.
    """
    data_key = random_keys(config.seed)[1]
    dropout_key, block_key = (jax.random.fold_in(data_key, 2**31 + i) for i in range(2))  # of no step

    def loss(
        params: Params,
        rows: Episode,
        features: jax.Array,
        step: jax.Array,
        communities: RowCommunities | None = None,
    ) -> jax.Array:
        episode, margins_of, columns = gather(rows, features), query_margins, jnp.ones(features.shape[1])
        if blocks is not None and config.block_dropout:
            columns = kept_columns(jax.random.fold_in(block_key, step), blocks, config.block_dropout)
            episode = episode._replace(context=episode.context * columns, queries=episode.queries * columns)
        if config.feature_dropout:
            episode = drop_features(jax.random.fold_in(dropout_key, step), episode, config.feature_dropout)
        if communities is not None:
            pairs = features[communities.known.pairs] * columns
            margins_of = functools.partial(community_margins, rows=rows, communities=communities, pairs=pairs)
        objective = LOSSES[config.objective]
        return episode_loss(scorer, objective, params, episode, config.tail_fraction, margins_of)

    return loss


def make_step(sample: Sampler, loss: RowsLoss, optimizer: optax.GradientTransformation, mesh: Mesh) -> Step:
    """Returns `(state, table, features) -> (state, metrics)`: sample episodes, score them, update.

    Args:
        sample: Draws the episodes of a step.
        loss: Computes their loss.
        optimizer: Transforms the gradient of the parameters.
        mesh: The devices over which the batch is divided.
    """

    def step(state: TrainState, table: EpisodeTable, features: jax.Array) -> tuple[TrainState, StepMetrics]:
        sampled = sample(state.step, table)
        rows = jax.lax.with_sharding_constraint(sampled.episode, batch_sharding(mesh))
        known = sampled.community
        communities = None if known is None else RowCommunities(known, jnp.asarray(table.texts))
        value, gradient = jax.value_and_grad(loss)(state.params, rows, features, state.step, communities)
        return next_state(state, value, gradient, optimizer)

    return step


def make_dispatch(step: Step, steps: int, mesh: Mesh) -> Any:
    """Compiles `steps` steps into one call like a step. The state is donated; metrics are `[steps]`."""

    def dispatch(
        state: TrainState, table: EpisodeTable, features: jax.Array
    ) -> tuple[TrainState, StepMetrics]:
        return jax.lax.scan(lambda carry, _: step(carry, table, features), state, None, length=steps)

    return jax.jit(dispatch, in_shardings=replicated(mesh), out_shardings=replicated(mesh), donate_argnums=0)
