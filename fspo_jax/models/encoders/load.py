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
    read_table,
    read_tensors,
)
from fspo_jax.models.encoders.mpnet import Mpnet
from fspo_jax.models.encoders.roberta import Roberta
from fspo_jax.models.encoders.sentence_files import read_sentence_files
from fspo_jax.models.encoders.text_encoder import ENCODER_VERSION, TextEncoder
from fspo_jax.models.encoders.window_tokenizer import read_tokenizer
from fspo_jax.models.pretrained.locate import find_model

FAMILIES: Mapping[str, Callable[[Mapping[str, Any]], Network]] = {
    "bert": Bert.of,
    "roberta": Roberta.of,
    "xlm-roberta": Roberta.of,
    "camembert": Roberta.of,
    "mpnet": Mpnet.of,
}
"""For each `model_type` of a `config.json`, the function that reads the network's sizes from it."""


def load_encoder(
    name: str, *, prefix: str = "", cache: str | Path | None = None, allow_download: bool = True
) -> TextEncoder:
    """Loads an encoder.

    Args:
        name: What `find_model` takes: a directory, a name of `PACKAGES` or a hub id.
        prefix: Put before every text, such as "query: "; empty for the model's default prompt, if it has one.
        cache: Directory in which `find_model` keeps models; None for the user's.
        allow_download: Whether the hub may be asked.

    Raises:
        EncoderError: Weights or tokenizer are missing (the message says how to get them), damaged, or not supported.
    """
    directory = find_model(name, cache=cache, allow_download=allow_download, error=EncoderError)
    files = read_sentence_files(directory, prefix)
    config = read_table(files.network / "config.json")
    family = config.get("model_type")
    if family not in FAMILIES:
        raise EncoderError(
            f"{directory}: model_type '{family}' is not supported. Choose an encoder of one of these families: "
            f"{', '.join(FAMILIES)}."
        )
    tensors, digest = read_tensors(files.network)
    try:
        network = FAMILIES[family](config)
        params = network.convert(tensors)
    except EncoderError as error:
        raise EncoderError(f"{directory}: {error}") from None
    except KeyError as error:
        raise EncoderError(f"{files.network / 'config.json'}: the key {error} is missing.") from None
    tokenizer = read_tokenizer(
        files.network, network.vocabulary, lowercase=files.lowercase, prefix=files.prefix
    )
    max_tokens = min(files.limit or network.positions, network.positions)
    if max_tokens <= tokenizer.around:
        raise EncoderError(
            f"{directory}: windows of {max_tokens} tokens have no room for text, because {tokenizer.around} special "
            "tokens surround it."
        )
    parts = (
        digest,
        tokenizer.fingerprint,
        repr(network),
        repr(files.pooling),
        str(max_tokens),
        str(ENCODER_VERSION),
    )
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return TextEncoder(network, files.pooling, max_tokens, params, tokenizer, fingerprint)
