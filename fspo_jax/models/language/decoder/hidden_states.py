"""Hidden states of one layer, for models that read texts with a decoder instead of writing them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.types import TokenLayout


def hidden_states(
    architecture: Architecture,
    params: Mapping[str, Any],
    tokens: jax.Array,
    mask: jax.Array,
    layer: int,
    *,
    dtype: Any = jnp.float32,
) -> jax.Array:
    """Returns the hidden states of a layer, `[B, T, D]`, with zeros where there is no token. Pure.

    A token sees itself and the tokens before it. Layers above `layer` are not computed.

    Args:
        architecture: Result of `read_architecture`.
        params: Result of `load_decoder` with `decoder_shapes`; a head in it is not read.
        tokens: `int32 [B, T]`.
        mask: `bool [B, T]`, where there is a token. Padding may be on either side.
        layer: 0 for the embeddings; i for the output of the i-th layer; L, the number of layers, for the output of the
            last one after the last norm. These are the numbers of `hidden_states` of transformers.
        dtype: Type of the computation.

    Example:
        >>> from fspo_jax.models.language.decoder.hidden_states import decoder_shapes
        >>> a = Architecture("llama", 7, 4, 8, 2, 2, 1, 2, rope_theta=1e4, norm_epsilon=1e-5, query_scale=0.7)
        >>> params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), decoder_shapes(a))
        >>> hidden_states(a, params, jnp.array([[1, 2, 0]]), jnp.array([[True, True, False]]), 1).shape
        (1, 3, 4)
    """
    zero = jnp.zeros(tokens.shape, jnp.int32)
    positions = jnp.cumsum(mask, axis=1, dtype=jnp.int32).clip(1) - 1
    layout = TokenLayout(positions, mask.astype(jnp.int32), zero, zero)
    body = {name: leaf for name, leaf in params.items() if name != "head"}
    states, _ = _module(architecture)[1](body)(tokens, layout, dtype=dtype, layers=layer)
    return jnp.where(mask[..., None], states, 0)


def decoder_shapes(architecture: Architecture) -> Any:
    """Shapes of the parameters of a decoder without its head, which `load_decoder` asks for."""
    return jax.eval_shape(_module(architecture)[0], jax.random.key(0))


@functools.cache
def _module(architecture: Architecture) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return pure_module(lambda rngs: Decoder(replace(architecture, tied=True), 0, rngs))
