"""Pools the vectors of a window's tokens into one vector, as in sentence-transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

Kind = Literal["mean", "cls", "last"]


@dataclass(frozen=True)
class Pooling:
    """How token vectors become one embedding.

    Attributes:
        kind: Mean over tokens, or the vector of the first or of the last token.
        normalize: Whether to scale the embedding to length one.
    """

    kind: Kind
    normalize: bool

    def pool(self, states: jax.Array, means: jax.Array, lengths: jax.Array) -> jax.Array:
        """Returns pooled vectors `[B, D]`, not normalised; zeros for a row without tokens.

        Args:
            states: `[B, T, D]`, states of the last layer.
            means: `[L, B, D]`, mean over tokens of every layer.
            lengths: `int32 [B]`, number of tokens of each row.
        """
        if self.kind == "mean":
            return means[-1]
        place = jnp.zeros_like(lengths) if self.kind == "cls" else jnp.maximum(lengths - 1, 0)
        vectors = jnp.take_along_axis(states, place[:, None, None], axis=1)[:, 0]
        return jnp.where(lengths[:, None] > 0, vectors, 0.0)

    def normalized(self, vectors: Any, width: int) -> Any:
        """Scales hidden states to length one, and the embedding too if `normalize` is true.

        Args:
            vectors: `[N, width (1 + layers)]` in numpy or jax: embeddings, then hidden states.
            width: Width of one of them.
        """
        xp: Any = jnp if isinstance(vectors, jax.Array) else np
        parts = xp.split(vectors, vectors.shape[1] // width, axis=1)
        for i in range(0 if self.normalize else 1, len(parts)):
            length = xp.sqrt(xp.square(parts[i]).sum(-1, keepdims=True))
            parts[i] = parts[i] / xp.maximum(length, 1e-12)
        return xp.concatenate(parts, axis=1)
