"""Loads encoders by name. Only this file knows all families."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import jax

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.bert import Bert
from fspo_jax.models.encoders.causal import Causal
from fspo_jax.models.encoders.contract import Network, Params
from fspo_jax.models.encoders.files import (
    read_table,
    weight_digest,
)
from fspo_jax.models.encoders.mpnet import Mpnet
from fspo_jax.models.encoders.roberta import Roberta
from fspo_jax.models.encoders.sentence_files import read_sentence_files
from fspo_jax.models.encoders.text_encoder import ENCODER_VERSION, TextEncoder, check_layers
from fspo_jax.models.encoders.window_tokenizer import read_tokenizer
from fspo_jax.models.language.decoder.architecture import FAMILIES as DECODERS
from fspo_jax.models.pretrained.locate import find_model

FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], Network]] = {
    "bert": Bert.of,
    "roberta": Roberta.of,
    "xlm-roberta": Roberta.of,
    "camembert": Roberta.of,
    "mpnet": Mpnet.of,
}
"""For each `model_type` of a `config.json`, the function that reads the network's sizes from it."""


LARGEST_WINDOW = 2048
"""Largest number of tokens of a window. Attention to more would not fit into the memory of small machines."""


def load_encoder(
    name: str,
    *,
    prefix: str = "",
    layer: int = 0,
    pooling: Literal["", "mean", "cls", "last"] = "",
    cache: str | Path | None = None,
    allow_download: bool = True,
) -> TextEncoder:
    """Loads an encoder.

    Args:
        name: What `find_model` takes: a directory, a GGUF file, a name of `PACKAGES` or a hub id. A language model that
            the decoder supports is an encoder too.
        prefix: Put before every text, such as "query: "; empty for the model's default prompt, if it has one.
        layer: Number of layers to compute. The embedding is made of the states of the last of them; 0 for all layers.
        pooling: How token vectors become one embedding; empty for what the model's files say, or else the mean.
        cache: Directory in which `find_model` keeps models; None for the user's.
        allow_download: Whether the hub may be asked.

    Raises:
        EncoderError: Weights or tokenizer are missing (the message says how to get them), damaged, or not supported; or
            the model has fewer layers.
    """
    directory = find_model(name, cache=cache, allow_download=allow_download, error=EncoderError)
    try:
        files = read_sentence_files(directory, prefix)
        network = _network(files.network)
    except KeyError as error:
        raise EncoderError(f"{directory}: the key {error} is missing from config.json.") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EncoderError(f"{directory}: a value in its JSON files has the wrong type ({error}).") from None
    pooled = replace(files.pooling, kind=pooling) if pooling else files.pooling
    digest = weight_digest(files.network)
    try:
        params = network.read(files.network)
    except EncoderError as error:
        raise EncoderError(f"{directory}: {error}") from None
    if layer:
        check_layers(network.layers, [layer])
        network = cast(Network, replace(cast(Any, network), layers=layer))
        params = _first_layers(params, layer)
    tokenizer = read_tokenizer(
        files.network, network.vocabulary, lowercase=files.lowercase, prefix=files.prefix
    )
    max_tokens = min(files.limit or network.positions, network.positions, LARGEST_WINDOW)
    if max_tokens <= tokenizer.around:
        raise EncoderError(
            f"{directory}: windows of {max_tokens} tokens have no room for text, because {tokenizer.around} special "
            "tokens surround it."
        )
    parts = (
        digest,
        tokenizer.fingerprint,
        repr(network),
        repr(pooled),
        str(max_tokens),
        str(ENCODER_VERSION),
    )
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return TextEncoder(network, pooled, max_tokens, params, tokenizer, fingerprint)


def _network(directory: Path) -> Network:
    """Reads the sizes of the network from `config.json`."""
    config = read_table(directory / "config.json")
    family = config.get("model_type")
    if family in DECODERS:
        return Causal.of_directory(directory)
    if family not in FAMILIES:
        raise EncoderError(
            f"{directory}: model_type '{family}' is not supported. Choose an encoder of one of these families: "
            f"{', '.join([*FAMILIES, *DECODERS])}."
        )
    try:
        return FAMILIES[family](config)
    except EncoderError as error:
        raise EncoderError(f"{directory}: {error}") from None


def _first_layers(params: Params, layers: int) -> dict[str, Any]:
    """Returns parameters with the first layers only."""
    return {
        name: jax.tree.map(lambda leaf: leaf[:layers], part)
        if name == "layers"
        else _first_layers(part, layers)
        if isinstance(part, Mapping)
        else part
        for name, part in params.items()
    }
