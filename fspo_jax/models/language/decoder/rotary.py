"""Rotary position embeddings.

Source: Su et al. (2021), RoFormer, arXiv 2104.09864; for the scaled frequencies, Llama 3.1; Peng et al. (2023), YaRN,
arXiv 2309.00071; for `dynamic`, the same, section 3.3.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.language.decoder.architecture import Architecture, RopeScaling


def rotary_angles(architecture: Architecture, positions: jax.Array, length: jax.Array) -> jax.Array:
    """Angles of tokens, `float32 [2, B, T, head_width / 2]`, in radians: in global layers, and in local ones.

    Args:
        architecture: Says the base and the scaling of both.
        positions: `int32 [B, T]`.
        length: `int32 [B]`, number of positions of the whole row. Only `dynamic` scaling depends on it.
    """
    a = architecture
    plain = _frequencies(a.rope_theta, a.head_width)
    scaling = a.rope_scaling
    if scaling is not None and scaling.kind == "dynamic":
        frequency = _dynamic(a, scaling, length)[:, None]
    else:
        frequency = jnp.asarray(plain if scaling is None else _scaled(plain, a.rope_theta, scaling))
    near = jnp.asarray(_frequencies(a.local_rope_theta, a.head_width)) if a.local_rope_theta else frequency
    angles = [positions[..., None] * frequency, positions[..., None] * near]
    return jnp.stack(angles)


def _frequencies(theta: float, head_width: int) -> np.ndarray:
    return (1.0 / theta ** (np.arange(0, head_width, 2, dtype=np.float32) / head_width)).astype(np.float32)


def _scaled(frequency: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    if scaling.kind == "linear":
        return (frequency / scaling.factor).astype(np.float32)
    length, low, high = scaling.original_positions, scaling.low, scaling.high
    if scaling.kind == "yarn":
        half = len(frequency)
        begin, end = (half * math.log(length / (n * 2 * math.pi)) / math.log(theta) for n in (high, low))
        if scaling.truncate:
            begin, end = math.floor(begin), math.ceil(end)
        begin, end = max(begin, 0), min(end, 2 * half - 1)
        end += 0.001 if begin == end else 0.0
        kept = 1.0 - ((np.arange(half) - begin) / (end - begin)).clip(0.0, 1.0)
    else:
        turns = length * frequency / (2.0 * math.pi)
        kept = ((turns - low) / (high - low)).clip(0.0, 1.0)
    return (kept * frequency + (1.0 - kept) * frequency / scaling.factor).astype(np.float32)


def _dynamic(architecture: Architecture, scaling: RopeScaling, length: jax.Array) -> jax.Array:
    """Frequencies of each row, `float32 [B, head_width / 2]`. The base grows beyond the known positions."""
    width = architecture.head_width
    ratio = jnp.maximum(length / scaling.original_positions, 1.0)
    growth = (scaling.factor * ratio - (scaling.factor - 1.0)) ** (width / (width - 2))
    exponents = jnp.arange(0, width, 2, dtype=jnp.float32) / width
    return 1.0 / (architecture.rope_theta * growth[:, None]) ** exponents


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Rotates `x [B, T, H, head_width]` by `angles [B, T, head_width / 2]` in radians, in float32."""
    sine, cosine = jnp.sin(angles)[:, :, None], jnp.cos(angles)[:, :, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return rotated.astype(x.dtype)
