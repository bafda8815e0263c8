"""Low-rank adapters of the text encoder: meta-trained with a scorer, merged into the weights for serving.

Frozen sentence embeddings tell what a text is about; people differ in stance and style. Adapters turn the encoder
towards those, end to end through the scorer.

Source: Hu et al. (2021), LoRA, arXiv 2106.09685. The scale is 1: `up` holds whatever scale was trained in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

Tree = Mapping[str, Any]

ADAPTED = ("query_key_value", "attention_out", "up", "down")
"""Matrices of a layer that have adapters."""


def init_adapters(key: jax.Array, encoder: Tree, rank: int, adapted: int) -> dict[str, Any]:
    """Adapters that change nothing yet: `down [adapted, inputs, rank]` random, `up` zero.

    Args:
        key: Random key.
        encoder: Parameters of `models.encoders.text_encoder.Bert`, or their shapes.
        rank: At least 1.
        adapted: Number of layers, the last ones.
    """
    adapters: dict[str, Any] = {}
    for own, name in zip(jax.random.split(key, len(ADAPTED)), ADAPTED, strict=True):
        _, inputs, outputs = encoder["layers"][name]["kernel"].shape
        adapters[name] = {
            "down": jax.random.normal(own, (adapted, inputs, rank)) * inputs**-0.5,
            "up": jnp.zeros((adapted, rank, outputs)),
        }
    return adapters


def join_encoder_adapters(encoder: Tree, adapters: Tree) -> dict[str, Any]:
    """Parameters of `Bert` with adapters beside the matrices of its last layers, for training."""
    adapted = len(adapters[ADAPTED[0]]["down"])
    first = jax.tree.map(lambda leaf: leaf[:-adapted], encoder["layers"])
    last = jax.tree.map(lambda leaf: leaf[-adapted:], encoder["layers"])
    last |= {name: {**last[name], "adapter": adapters[name]} for name in ADAPTED}
    rest = {"layers": first} if len(first[ADAPTED[0]]["bias"]) else {}
    return {**{name: leaf for name, leaf in encoder.items() if name != "layers"}, **rest, "adapted": last}


def merge_encoder_adapters(encoder: Tree, adapters: Tree) -> dict[str, Any]:
    """Parameters of `Bert` with `down @ up` added to the matrices of its last layers, for serving."""
    layers = dict(encoder["layers"])
    for name in ADAPTED:
        change = jnp.einsum("lir,lro->lio", adapters[name]["down"], adapters[name]["up"])
        layers[name] = {**layers[name], "kernel": layers[name]["kernel"].at[-len(change) :].add(change)}
    return {**encoder, "layers": layers}
