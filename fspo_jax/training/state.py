"""The state of training, which changes in every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fspo_jax.models.scorers.contract import Params


class TrainState(NamedTuple):
    """Parameters, optimizer state and number of steps done. With the config, a resumed run needs nothing else.

    Random keys and the position in the data are not stored, because they are functions of (seed, step).
    """

    params: Params
    opt_state: Any
    step: jax.Array


class StepMetrics(NamedTuple):
    """Metrics of a step, as scalars, or of several, as `[steps]`.

    Attributes:
        loss: Mean loss over episodes.
        gradient_norm: Norm of its gradient before clipping.
        tokens: Number of places of rows that were read, without padding, for a language model; else None.
    """

    loss: jax.Array
    gradient_norm: jax.Array
    tokens: Any = None


def random_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Returns the key of the initial parameters and the key of the data stream."""
    init_key, data_key = jax.random.split(jax.random.key(seed))
    return init_key, data_key


def first_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step. Pure, for use inside jit."""
    # No weak types: they would become strong in the first step, and everything would be compiled twice.
    params = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), params)
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def next_state(
    state: TrainState, loss: jax.Array, gradient: Params, optimizer: optax.GradientTransformation
) -> tuple[TrainState, StepMetrics]:
    """Returns the state after a step with this loss and gradient. Pure, for use inside jit."""
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1), StepMetrics(loss, optax.tree.norm(gradient))


def take_steps(
    step: Callable[[TrainState], tuple[TrainState, StepMetrics]], state: TrainState, steps: int
) -> tuple[TrainState, StepMetrics]:
    """Takes steps one after another. Returns the state and the metrics `[steps]`, on the host."""
    metrics = []
    for _ in range(steps):
        state, of_step = step(state)
        metrics.append(of_step)
    return state, jax.tree.map(lambda *values: np.array(values), *jax.device_get(metrics))
