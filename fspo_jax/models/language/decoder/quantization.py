"""Stores the matrices of a decoder's layers as int8, for serving: a quarter of the memory of float32, half of bfloat16.

Each output of each layer has its own scale. Activations keep their type. Embeddings, head, norms, biases and adapters
are not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from fspo_jax.errors import FspoError, how_to_install
from fspo_jax.models.language.decoder.files import flat_params

Tree = Mapping[str, Any]


def quantize_decoder(decoder: Tree) -> Tree:
    """Returns the decoder with the matrices of its layers as `qwix.QArray`, int8 `[L, inputs, outputs]`.

    Raises:
        FspoError: qwix is not installed.
    """
    try:
        import qwix
    except ImportError:
        raise FspoError(f"int8 weights need the package qwix. {how_to_install('int8')}") from None
    quantize = jax.jit(lambda matrix: qwix.quantize(matrix, jnp.int8, channelwise_axes=(0, 2)))
    flat = flat_params(decoder)
    return unflatten_dict({path: quantize(leaf) if leaf.ndim == 3 else leaf for path, leaf in flat.items()})


def is_quantized(decoder: Tree) -> bool:
    """Whether the decoder comes from `quantize_decoder`."""
    return hasattr(decoder["layers"]["query"]["weight"], "qvalue")


def product(x: jax.Array, matrix: Any) -> jax.Array:
    """`x @ matrix` in the type of `x`; the matrix has any type or is quantized."""
    if not hasattr(matrix, "qvalue"):
        return x @ matrix.astype(x.dtype)
    import qwix

    return qwix.dot(x, matrix).astype(x.dtype)
