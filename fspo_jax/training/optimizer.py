"""The optimizer of meta-training."""

from __future__ import annotations

from typing import Any

import jax
import optax

from fspo_jax.config import OptimizerConfig
from fspo_jax.errors import ConfigError


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """AdamW with linear warm-up, cosine decay to zero at `steps`, and clipping by the global norm.

    Weight decay applies to arrays with two axes or more, not to biases and scales, which need not be small.

    Args:
        config: Learning rate, warm-up steps, weight decay and clipping.
        steps: Number of steps of the run.

    Raises:
        ConfigError: The warm-up does not end before the last step.
    """
    if not 0 <= config.warmup_steps < steps:
        raise ConfigError(
            f"'optimizer.warmup_steps' ({config.warmup_steps}) must be less than 'steps' ({steps}). Change one of them."
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
