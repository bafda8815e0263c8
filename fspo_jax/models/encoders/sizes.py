"""Reads the sizes in a `config.json`. A key that may change the mathematics is computed or refused, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.errors import EncoderError
from fspo_jax.models.pretrained.harmless_keys import HARMLESS, is_empty

COMPUTED = frozenset(
    """
    vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size max_position_embeddings
    type_vocab_size layer_norm_eps hidden_act model_type pad_token_id relative_attention_num_buckets
    """.split()
)
"""Keys that a network reads."""


def check_keys(config: Mapping[str, Any]) -> None:
    """Raises `EncoderError` with every key that is set and may change the mathematics in a way that is not computed."""
    unknown = [
        f"{key} = {value!r:.60}"
        for key, value in config.items()
        if not is_empty(value)
        and key not in COMPUTED
        and key not in HARMLESS
        and not key.startswith(("_", "pooler_", "summary_"))
        and (key, value) != ("position_embedding_type", "absolute")
    ]
    if unknown:
        raise EncoderError(
            f"config.json sets what is not supported: {'; '.join(unknown)}. Choose another model. If you know that a "
            "key does not change the network, remove it from config.json."
        )


def whole_number(config: Mapping[str, Any], key: str, default: int | None = None, least: int = 1) -> int:
    """Reads a size.

    Raises:
        EncoderError: It is not a whole number, or below `least`.
        KeyError: It is missing and has no default.
    """
    value = config[key] if default is None else config.get(key, default)
    if type(value) is not int or value < least:
        raise EncoderError(f"config.json: '{key}' is {value!r:.60}, not a whole number of {least} or more.")
    return value
