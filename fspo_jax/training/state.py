"""What changes from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fspo_jax.models.scorers.contract import Params


class TrainState(NamedTuple):
    """Parameters, optimizer state and number of steps done; with the config, all that a resumed run needs.

    There is no random key and no position in the data: both are functions of (seed, step).
    """

    params: Params
    opt_state: Any
    step: jax.Array


class StepMetrics(NamedTuple):
    """Of one step, or `[steps]` of many: mean loss over episodes and norm of its gradient before clipping."""

    loss: jax.Array
    gradient_norm: jax.Array


def random_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial parameters and the key of the data stream."""
    init_key, data_key = jax.random.split(jax.random.key(seed))
    return init_key, data_key


def first_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step; pure, for use inside jit."""
    # Without weak types: they would turn strong in the first step and compile everything a second time.
    params = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), params)
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def next_state(
    state: TrainState, loss: jax.Array, gradient: Params, optimizer: optax.GradientTransformation
) -> tuple[TrainState, StepMetrics]:
    """The state after a step with this loss and gradient; pure, for use inside jit."""
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1), StepMetrics(loss, optax.tree.norm(gradient))


def stack_metrics(metrics: list[StepMetrics]) -> StepMetrics:
    """Metrics of single steps as one `[steps]`, on the host."""
    return jax.tree.map(lambda *values: np.array(values), *jax.device_get(metrics))
