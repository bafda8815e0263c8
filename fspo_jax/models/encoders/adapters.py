"""Low-rank adapters of an encoder: meta-trained with a scorer, merged into the weights for serving.

Frozen sentence embeddings show what a text is about, but people differ in what they think and in style. Adapters train
the encoder to show these too, end to end through the scorer.

The matrix `W` of a layer becomes `W + A B`; `lora_a` is A, `[inputs, rank]`, and `lora_b` is B, `[rank, outputs]`, each
stacked over the layers that have adapters. Trees of adapters may also contain other parameters.

Source: Hu et al. (2021), LoRA, arXiv 2106.09685. The scale is always 1: B includes any other scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fspo_jax.models.encoders.contract import Params


def init_adapters(
    key: jax.Array, params: Params, matrices: Sequence[str], rank: int, layers: int
) -> dict[str, Any]:
    """Makes adapters that do not change the network: A is random, B is zero.

    Args:
        key: Random key.
        params: Parameters of the network, or their shapes.
        matrices: Names of the matrices of a layer that have adapters.
        rank: Rank of the adapters, 1 or more.
        layers: Number of layers with adapters, the last ones.
    """
    adapters: dict[str, Any] = {}
    for own, name in zip(jax.random.split(key, len(matrices)), matrices, strict=True):
        _, inputs, outputs = params["layers"][name]["kernel"].shape
        adapters[name] = {
            "lora_a": jax.random.normal(own, (layers, inputs, rank)) * inputs**-0.5,
            "lora_b": jnp.zeros((layers, rank, outputs)),
        }
    return adapters


def adapters_shape(adapters: Params, matrices: Sequence[str]) -> tuple[int, int]:
    """Returns the rank and the number of layers of adapters."""
    layers, _, rank = adapters[matrices[0]]["lora_a"].shape
    return rank, layers


def join_adapters(params: Params, adapters: Params, matrices: Sequence[str]) -> dict[str, Any]:
    """Returns parameters that contain the adapters of the last layers, for training."""
    _, adapted = adapters_shape(adapters, matrices)
    first = jax.tree.map(lambda leaf: leaf[:-adapted], params["layers"])
    last = jax.tree.map(lambda leaf: leaf[-adapted:], params["layers"])
    last |= {name: {**last[name], "adapter": adapters[name]} for name in matrices}
    rest = {"layers": first} if len(first[matrices[0]]["kernel"]) else {}
    return {**{name: leaf for name, leaf in params.items() if name != "layers"}, **rest, "adapted": last}


def merge_adapters(params: Params, adapters: Params, matrices: Sequence[str]) -> dict[str, Any]:
    """Returns parameters with `A B` added to the matrices of the last layers, for serving."""
    layers = dict(params["layers"])
    for name in matrices:
        change = jnp.einsum("lir,lro->lio", adapters[name]["lora_a"], adapters[name]["lora_b"])
        layers[name] = {**layers[name], "kernel": layers[name]["kernel"].at[-len(change) :].add(change)}
    return {**params, "layers": layers}
