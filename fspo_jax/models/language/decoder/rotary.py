"""Rotary position embeddings.

Source: Su et al. (2021), RoFormer, arXiv 2104.09864; for the scaled frequencies, Llama 3.1.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.language.decoder.architecture import Architecture, RopeScaling


def frequencies(architecture: Architecture) -> tuple[np.ndarray, np.ndarray]:
    """Angular frequencies of global and of local layers, each `float32 [head_width / 2]`, in radians per position."""
    return (
        _scaled(_unscaled(architecture.rope_theta, architecture.head_width), architecture.rope_scaling),
        _unscaled(architecture.local_rope_theta, architecture.head_width),
    )


def _unscaled(theta: float, head_width: int) -> np.ndarray:
    return (1.0 / theta ** (np.arange(0, head_width, 2, dtype=np.float32) / head_width)).astype(np.float32)


def _scaled(frequency: np.ndarray, scaling: RopeScaling | None) -> np.ndarray:
    if scaling is None:
        return frequency
    if scaling.kind == "linear":
        return (frequency / scaling.factor).astype(np.float32)
    length, low, high = (
        scaling.original_positions,
        scaling.low_frequency_factor,
        scaling.high_frequency_factor,
    )
    wavelength = 2.0 * math.pi / frequency
    between = ((length / wavelength - low) / (high - low)).clip(0.0, 1.0)
    return (between * frequency + (1.0 - between) * frequency / scaling.factor).astype(np.float32)


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Rotates `x [B, T, H, head_width]` by `angles [B, T, head_width / 2]` in radians, in float32."""
    sine, cosine = jnp.sin(angles)[:, :, None], jnp.cos(angles)[:, :, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return rotated.astype(x.dtype)
