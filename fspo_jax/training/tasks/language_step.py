"""Pure functions of one step of meta-training a language model."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from fspo_jax.config import TrainConfig
from fspo_jax.data.batches import RowBatch
from fspo_jax.losses import bradley_terry, ipo, probit_scale
from fspo_jax.models.language.decoder.log_probabilities import sum_by_owner
from fspo_jax.models.language.reward_model import LanguageModel
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import BATCH_AXES, put_batch
from fspo_jax.processes import to_host
from fspo_jax.training.state import StepMetrics, TrainState, next_state

LanguageStep = Callable[[TrainState, Params, RowBatch], tuple[TrainState, StepMetrics]]


def batch_margins(
    model: LanguageModel, params: Params, frozen: Params, batch: RowBatch
) -> tuple[jax.Array, jax.Array]:
    """Returns the predictive margins of all queries of a batch, and their weights in a mean over users.

    Both are `[R, P]`, as packed; for the Gaussian process `[B, Q]`.
    """
    if model.config.reward == "gaussian_process":
        assert batch.episode is not None
        mean, variance = model.process_margins(params, frozen, batch.rows, batch.episode)
        mask = batch.episode.query_mask
        filled = jnp.maximum(mask.any(-1).sum(), 1)
        return probit_scale(mean, variance), mask / jnp.maximum(mask.sum(-1, keepdims=True), 1) / filled
    if model.config.reward == "scalar":
        rewards = model.rewards(params, frozen, batch.rows)
        return rewards[..., 0] - rewards[..., 1], batch.rows.weights
    policy = model.log_probabilities(
        model.decoder_of(params, frozen), batch.rows, frozen.get("output_tokens")
    )
    return implicit_margins(model, frozen, batch, policy), batch.rows.weights


def implicit_margins(model: LanguageModel, frozen: Params, batch: RowBatch, policy: jax.Array) -> jax.Array:
    """Margins `[R, P]` of implicit rewards, from the policy's log-probabilities `[R, P, 2]`."""
    reference = batch.reference
    if reference is None:
        reference = model.reference_log_probabilities(frozen, batch.rows)
    rewards = model.config.beta * (policy - reference)
    return rewards[..., 0] - rewards[..., 1]


def batch_loss(
    config: TrainConfig, model: LanguageModel, params: Params, frozen: Params, batch: RowBatch
) -> jax.Array:
    """Loss of a batch, or of a part of it: the losses of the parts add up to that of the batch."""
    scorer, rows = model.config, batch.rows
    if scorer.reward != "implicit":
        margins, weights = batch_margins(model, params, frozen, batch)
        losses = ipo(margins) if config.objective == "ipo" else bradley_terry(margins, scorer.label_smoothing)
        return weighted(weights, losses)
    policy = model.log_probabilities(model.decoder_of(params, frozen), rows, frozen.get("output_tokens"))
    lengths = sum_by_owner(jnp.ones(rows.targets.shape, jnp.float32), rows)[..., 0]
    loss_per_token = -policy[..., 0] / jnp.maximum(lengths, 1.0)
    if config.objective == "sft":
        loss = weighted(rows.weights, loss_per_token)
    else:
        margins = implicit_margins(model, frozen, batch, policy)
        if config.objective == "ipo":
            losses = ipo(margins / scorer.beta, scorer.beta)
        else:  # DPO is the Bradley-Terry loss of the implicit reward
            losses = bradley_terry(margins, scorer.label_smoothing)
        loss = weighted(rows.weights, losses)
        if config.sft_weight:
            loss += config.sft_weight * weighted(rows.weights, loss_per_token)
    if scorer.description_weight:
        loss += scorer.description_weight * weighted(rows.described, loss_per_token)
    return loss


class References:
    """Log-probabilities of the reference for batches that recur. Computed once, and kept on the host."""

    def __init__(self, model: LanguageModel, mesh: Mesh):
        self._compute = jax.jit(model.reference_log_probabilities)
        self._mesh = mesh
        self._known: dict[Hashable, Any] = {}

    def added(self, name: Hashable, frozen: Params, batch: RowBatch) -> RowBatch:
        """Adds the `reference` to a batch; `name` identifies the batch."""
        if name not in self._known:
            self._known[name] = to_host(self._compute(frozen, batch.rows))
        return batch._replace(reference=put_batch(self._mesh, self._known[name]))


def weighted(weights: jax.Array, losses: jax.Array) -> jax.Array:
    """Weighted sum of losses. Losses with weight 0 are ignored, even if they are not finite."""
    return jnp.where(weights > 0, weights * losses, 0.0).sum()


def make_language_step(
    config: TrainConfig, model: LanguageModel, optimizer: optax.GradientTransformation, mesh: Mesh
) -> LanguageStep:
    """Returns `(state, frozen parameters, batch) -> (state, metrics)`.

    With `scorer.micro_batches` the gradient is summed over parts of the rows, with the same result.
    """
    parts = model.config.micro_batches

    def gradient(params: Params, frozen: Params, batch: RowBatch) -> tuple[jax.Array, Params]:
        return jax.value_and_grad(lambda p: batch_loss(config, model, p, frozen, batch))(params)

    def accumulated(params: Params, frozen: Params, batch: RowBatch) -> tuple[jax.Array, Params]:
        def cut(leaf: jax.Array) -> jax.Array:
            # Row r goes into part r % parts, so that every device has rows of its own in every part.
            cut = leaf.reshape(-1, parts, *leaf.shape[1:]).swapaxes(0, 1)
            return jax.lax.with_sharding_constraint(
                cut, jax.sharding.NamedSharding(mesh, PartitionSpec(None, BATCH_AXES))
            )

        def add(carry: Any, part: RowBatch) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, carry, gradient(params, frozen, part)), None

        start = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        return jax.lax.scan(add, start, jax.tree.map(cut, batch))[0]

    def step(state: TrainState, frozen: Params, batch: RowBatch) -> tuple[TrainState, StepMetrics]:
        loss, grads = (gradient if parts == 1 else accumulated)(state.params, frozen, batch)
        return next_state(state, loss, grads, optimizer)

    return step
