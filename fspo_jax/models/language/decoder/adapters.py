"""Low-rank adapters of a decoder: split from the base, and merged into it.

A matrix `W` becomes `W + A B`: `lora_a` is A, `[inputs, rank]`, and `lora_b` is B, `[rank, outputs]`. The scale of the
product is always 1: B includes any other scale.

Source: Hu et al. (2021), LoRA, arXiv 2106.09685.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.files import flat_params
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.scorers.contract import pure_module

FACTORS = ("lora_a", "lora_b")

Tree = Mapping[str, Any]


def split_adapters(params: Tree) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a parameter tree into base and adapters."""
    flat = flat_params(params)
    base = {key: leaf for key, leaf in flat.items() if key[-1] not in FACTORS}
    adapters = {key: leaf for key, leaf in flat.items() if key[-1] in FACTORS}
    return unflatten_dict(base), unflatten_dict(adapters)


def adapter_shapes(architecture: Architecture, rank: int) -> dict[str, Any]:
    """Shapes of the adapters of a decoder."""
    init, _ = pure_module(lambda rngs: Decoder(architecture, rank, rngs))
    return split_adapters(jax.eval_shape(init, jax.random.key(0)))[1]


def join_adapters(base: Tree, adapters: Tree) -> dict[str, Any]:
    """The inverse of `split_adapters`."""
    return unflatten_dict(flat_params(base) | flat_params(adapters))


def merge_adapters(base: Tree, adapters: Tree, *, sign: int = 1) -> dict[str, Any]:
    """Adds the products of the adapters to the matrices; `sign=-1` subtracts them."""
    flat, factors = flat_params(base), flat_params(adapters)
    for key in factors:
        if key[-1] == "lora_a":
            matrix = (*key[:-1], "weight")
            change = jnp.matmul(
                factors[key].astype(jnp.float32),
                factors[(*key[:-1], "lora_b")].astype(jnp.float32),
                precision=jax.lax.Precision.HIGHEST,
            )
            flat[matrix] = (flat[matrix].astype(jnp.float32) + sign * change).astype(flat[matrix].dtype)
    return unflatten_dict(flat)
