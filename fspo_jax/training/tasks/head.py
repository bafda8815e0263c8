"""One step of meta-training, and many of them in one compiled call. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from fspo_jax.config import TrainConfig
from fspo_jax.data.episodes import EpisodeTable, sample_episodes
from fspo_jax.losses import bradley_terry, ipo, probit_scale
from fspo_jax.models.scorers.contract import Params, Scorer, query_margins
from fspo_jax.partitioning import batch_sharding, replicated
from fspo_jax.training.state import TrainState, random_keys
from fspo_jax.types import Episode

LOSSES = {"bradley_terry": bradley_terry, "ipo": ipo}


class StepMetrics(NamedTuple):
    """Of one step, or `[steps]` of many: mean loss over episodes and norm of its gradient before clipping."""

    loss: jax.Array
    gradient_norm: jax.Array


Step = Callable[[TrainState, EpisodeTable, jax.Array], tuple[TrainState, StepMetrics]]


def gather(episode: Episode, features: jax.Array) -> Episode:
    """Replaces feature rows, `int32 [..., 2]`, by features, `float32 [..., 2, F]`."""
    return episode._replace(context=features[episode.context], queries=features[episode.queries])


def drop_features(key: jax.Array, episode: Episode, probability: float) -> Episode:
    """Zeroes each feature of each item with `probability` and scales the others up, so that means stay."""
    keys = jax.random.split(key)

    def drop(key: jax.Array, rows: jax.Array) -> jax.Array:
        return rows * jax.random.bernoulli(key, 1.0 - probability, rows.shape) / (1.0 - probability)

    return episode._replace(context=drop(keys[0], episode.context), queries=drop(keys[1], episode.queries))


def masked_mean(values: jax.Array, mask: jax.Array, axis: int | None = None) -> jax.Array:
    """Mean of `values` where `mask` holds, along `axis`; zero where it holds nowhere."""
    return jnp.where(mask, values, 0.0).sum(axis) / jnp.maximum(mask.sum(axis), 1)


def episode_loss(
    scorer: Scorer,
    objective: Callable[[jax.Array], jax.Array],
    params: Params,
    episode: Episode,
    tail_fraction: float = 1.0,
) -> jax.Array:
    """Mean loss over the queries of each episode, then over the episodes that have any.

    Args:
        scorer: The scorer.
        objective: Loss of the margin in nats, per element.
        params: Parameters of the scorer.
        episode: Features, with masks.
        tail_fraction: Share of the episodes, those with the largest losses, that the mean is over.

    Source: Rockafellar and Uryasev (2000), conditional value at risk, for the tail.
    """
    margins = probit_scale(*query_margins(scorer, params, episode))
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


def make_step(
    config: TrainConfig, scorer: Scorer, optimizer: optax.GradientTransformation, mesh: Mesh
) -> Step:
    """Returns `(state, table, features) -> (state, metrics)`: sample episodes, gather, update.

    The episodes are a function of (seed, step) only, so that resuming needs no position in the data.

    Args:
        config: Seed, objective and shape of the episodes.
        scorer: The scorer.
        optimizer: Its gradient transformation.
        mesh: The batch axis is divided over its `data` axis.
    """
    shape = config.episodes
    data_key = random_keys(config.seed)[1]
    dropout_key = jax.random.fold_in(data_key, 2**31)  # no step has this number

    def step(state: TrainState, table: EpisodeTable, features: jax.Array) -> tuple[TrainState, StepMetrics]:
        rows = sample_episodes(
            jax.random.fold_in(data_key, state.step),
            table,
            batch_size=shape.batch_size,
            max_context=shape.max_context,
            queries=shape.queries,
            zero_shot_probability=shape.zero_shot_probability,
            flip_probability=shape.flip_probability,
            cohort=config.data.cohort,
        )
        episode = gather(jax.lax.with_sharding_constraint(rows, batch_sharding(mesh)), features)
        if config.feature_dropout:
            key = jax.random.fold_in(dropout_key, state.step)
            episode = drop_features(key, episode, config.feature_dropout)

        def loss_of(params: Params) -> jax.Array:
            return episode_loss(scorer, LOSSES[config.objective], params, episode, config.tail_fraction)

        loss, gradient = jax.value_and_grad(loss_of)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = StepMetrics(loss, optax.tree.norm(gradient))
        return TrainState(params, opt_state, state.step + 1), metrics

    return step


def make_dispatch(step: Step, steps: int, mesh: Mesh) -> Any:
    """Compiles `steps` steps into one call with the signature of a step; the state is donated.

    Metrics are `[steps]`.
    """

    def dispatch(
        state: TrainState, table: EpisodeTable, features: jax.Array
    ) -> tuple[TrainState, StepMetrics]:
        return jax.lax.scan(lambda carry, _: step(carry, table, features), state, None, length=steps)

    return jax.jit(dispatch, in_shardings=replicated(mesh), out_shardings=replicated(mesh), donate_argnums=0)
