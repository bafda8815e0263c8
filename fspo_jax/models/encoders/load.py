"""Loads encoders by name. Only this file knows all families."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.bert import Bert
from fspo_jax.models.encoders.contract import Network
from fspo_jax.models.encoders.files import (
    read_json,
    read_pooling,
    read_tensors,
    read_tokenizer,
)
from fspo_jax.models.encoders.text_encoder import ENCODER_VERSION, TextEncoder
from fspo_jax.models.pretrained.locate import find_model

FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], Network]] = {
    "bert": Bert.of,
}
"""For each `model_type` of a `config.json`, the function that reads the network's sizes from it."""


def load_encoder(name: str, *, cache: str | Path | None = None, allow_download: bool = True) -> TextEncoder:
    """Loads an encoder.

    Args:
        name: What `find_model` takes: a directory, a name of `PACKAGES` or a hub id.
        cache: Directory in which `find_model` keeps models; None for the user's.
        allow_download: Whether the hub may be asked.

    Raises:
        EncoderError: Weights or tokenizer are missing (the message says how to get them), damaged, or not supported.
    """
    directory = find_model(name, cache=cache, allow_download=allow_download, error=EncoderError)
    config = read_json(directory / "config.json")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise EncoderError(
            f"{directory}: model_type '{family}' is not supported. Choose an encoder of one of these families: "
            f"{', '.join(FAMILIES)}."
        )
    pooling, limit = read_pooling(directory)
    tensors, digest = read_tensors(directory)
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
