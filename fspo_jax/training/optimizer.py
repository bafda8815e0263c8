"""The optimizer of meta-training."""

from __future__ import annotations

from typing import Any

import jax
import optax

from fspo_jax.config import OptimizerConfig
from fspo_jax.errors import ConfigError


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """AdamW with linear warm-up, cosine decay to zero at `steps`, and clipping by the global norm.

    Only what has two axes or more decays: biases and scales have no reason to be small.

    Raises:
        ConfigError: The warm-up does not end before the last step.
    """
    if not 0 <= config.warmup_steps < steps:
        raise ConfigError(
            f"'optimizer.warmup_steps' ({config.warmup_steps}) must be smaller than 'steps' ({steps})."
        )
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_steps else config.learning_rate,
        peak_value=config.learning_rate,
        warmup_steps=config.warmup_steps,
        decay_steps=steps,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, weight_decay=config.weight_decay, mask=_matrices),
    )


def _matrices(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
