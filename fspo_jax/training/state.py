"""What changes from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fspo_jax.models.scorers.contract import Params, Scorer


class TrainState(NamedTuple):
    """Parameters, optimizer state and number of steps done; with the config, all that a resumed run needs.

    There is no random key and no position in the data: both are functions of (seed, step).
    """

    params: Params
    opt_state: Any
    step: jax.Array


def random_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """The key of the initial parameters and the key of the data stream."""
    init_key, data_key = jax.random.split(jax.random.key(seed))
    return init_key, data_key


def initial_state(scorer: Scorer, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step; pure, for use inside jit."""
    # Without weak types: they would turn strong in the first step and compile everything a second time.
    params = jax.tree.map(
        lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), scorer.init(random_keys(seed)[0])
    )
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))
