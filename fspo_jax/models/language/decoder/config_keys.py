"""Which keys of a `config.json` are computed, which change nothing, and that all others are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.errors import CheckpointError, counted
from fspo_jax.models.pretrained.harmless_keys import HARMLESS, is_empty

_COMMON = {
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "max_position_embeddings",
    "tie_word_embeddings",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "layer_types",
    "eos_token_id",
    "model_type",
}
_WINDOW = {"sliding_window", "use_sliding_window", "max_window_layers"}
_GEMMA = {
    "hidden_activation",
    "attention_bias",
    "query_pre_attn_scalar",
    "sliding_window",
    "final_logit_softcapping",
    "attn_logit_softcapping",
}
COMPUTED: Mapping[str, frozenset[str]] = {
    family: frozenset(_COMMON | own)
    for family, own in {
        "llama": {"hidden_act", "attention_bias", "mlp_bias"},
        "qwen2": {"hidden_act", *_WINDOW},
        "qwen3": {"hidden_act", "attention_bias", *_WINDOW},
        "gemma2": _GEMMA,
        "gemma3_text": _GEMMA | {"sliding_window_pattern", "_sliding_window_pattern", "rope_local_base_freq"},
    }.items()
}
"""For each family, the keys that `architecture_of` reads, some through transformers' own defaults."""

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {"is_causal": (True, None)}

ROPE_KEYS: Mapping[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor", "original_max_position_embeddings"}),
    "llama3": frozenset(
        {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}
    ),
    "yarn": frozenset(
        {
            "factor",
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        }
    ),
}
"""For each kind of rotary scaling, the keys that are read beside its kind and base."""


def refuse_unknown_keys(family: str, config: Mapping[str, Any]) -> None:
    """Raises `CheckpointError` with all keys that may change what the model computes and that are not computed.

    A key that is absent, false or empty changes nothing.
    """
    known = COMPUTED[family] | HARMLESS
    unknown = {
        key: value
        for key, value in config.items()
        if (key in _NEUTRAL and value not in _NEUTRAL[key])
        or (key not in known | set(_NEUTRAL) and not is_empty(value))
    }
    if unknown:
        shown = ", ".join(f"{key} = {str(value)[:60]}" for key, value in sorted(unknown.items()))
        raise CheckpointError(
            f"{counted(len(unknown), 'key')} of this {family} config may change what the model computes and cannot be "
            f"computed here: {shown}. Take another checkpoint; or remove a key from config.json if it changes nothing."
        )


def rope_kind(rope: Mapping[str, Any]) -> str:
    """The kind of rotary scaling, under its new key or its old one."""
    return next(
        (rope[key] for key in ("rope_type", "type") if rope.get(key) not in (None, "default")), "default"
    )


def refuse_unknown_rope(rope: Mapping[str, Any]) -> None:
    """Raises `CheckpointError` for a kind of rotary embedding, or a key of it, that is not computed."""
    kind = rope_kind(rope)
    if kind not in ROPE_KEYS:
        raise CheckpointError(f"rotary scaling '{kind}' is not supported. Supported: {', '.join(ROPE_KEYS)}.")
    known = ROPE_KEYS[kind] | {"rope_type", "type", "rope_theta", "finetuned"}
    if kind == "default":
        known = known | {"original_max_position_embeddings"}
    neutral = {"partial_rotary_factor": 1.0}
    unknown = {
        key: value
        for key, value in rope.items()
        if key not in known and value is not None and value != neutral.get(key)
    }
    if unknown:
        shown = ", ".join(f"{key} = {str(value)[:60]}" for key, value in sorted(unknown.items()))
        raise CheckpointError(
            f"rotary scaling '{kind}' has keys that are not supported: {shown}. Supported: {', '.join(sorted(known))}."
        )
