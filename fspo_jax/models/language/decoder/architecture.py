"""The architecture of a decoder, read from the `config.json` of a checkpoint of a supported family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fspo_jax.errors import CheckpointError, did_you_mean_path

FAMILIES = {"llama": "Llama 2 and 3, SmolLM2", "qwen2": "Qwen2.5", "qwen3": "Qwen3", "gemma3_text": "Gemma 3"}
"""Model types of transformers that the decoder supports; its numbers agree with theirs."""


@dataclass(frozen=True)
class RopeScaling:
    """Scaling of rotary frequencies: `llama3` divides the low ones only, `linear` divides all."""

    kind: str
    factor: float
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 1.0
    original_positions: int = 0


@dataclass(frozen=True)
class Architecture:
    """Shapes and switches of a decoder. D: width, H: heads, L: layers, V: vocabulary.

    Attributes:
        family: Key of `FAMILIES`. It decides the names of tensors in files.
        kv_heads: Number of key-value heads; each serves `heads / kv_heads` query heads.
        query_scale: Factor of the products of queries and keys.
        tied: Whether the output matrix is the embedding.
        attention_bias: Whether the projections to queries, keys and values have a bias.
        qk_norm: Whether the queries and keys of each head are normalised.
        post_norms: Whether a norm also follows attention and MLP.
        norm_offset: Added to the stored weights of norms.
        embedding_scale: Factor of embeddings.
        window: Number of positions that a local layer sees; 0 if no layer is local.
        local_layers: For each layer, whether it is local.
        local_rope_theta: Rotary base of local layers.
        end_token: Token that ends a response; the first if the checkpoint names several.
    """

    family: str
    vocabulary: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    rope_theta: float
    norm_epsilon: float
    query_scale: float
    activation: str = "silu"
    rope_scaling: RopeScaling | None = None
    tied: bool = True
    attention_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    norm_offset: float = 0.0
    embedding_scale: float = 1.0
    window: int = 0
    local_layers: tuple[bool, ...] = ()
    local_rope_theta: float = 10_000.0
    end_token: int = 0


def read_architecture(directory: str | Path) -> Architecture:
    """Reads `config.json` of a checkpoint directory through transformers' `AutoConfig`.

    Raises:
        CheckpointError: There is no such file, or the family or variant is not supported.
    """
    path = Path(directory)
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path}: no config.json found.{did_you_mean_path(path)}")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(path)).to_dict()
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path / 'config.json'}: cannot be read ({error}).") from None
    return architecture_of(config)


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """Translates a config of transformers, with the old or the new (`rope_parameters`) keys for rotary embeddings.

    Raises:
        CheckpointError: The family or the variant is not supported.
    """
    family = config.get("model_type", "")
    if family not in FAMILIES:
        known = ", ".join(f"{key} ({name})" for key, name in FAMILIES.items())
        raise CheckpointError(f"model type '{family}' is not supported. Supported: {known}.")
    if config.get("mlp_bias") or config.get("use_sliding_window"):
        raise CheckpointError(
            f"this {family} checkpoint has MLP biases or a sliding window, which are not supported."
        )
    gemma = family == "gemma3_text"
    heads, width, layers = (
        config[name] for name in ("num_attention_heads", "hidden_size", "num_hidden_layers")
    )
    head_width = config.get("head_dim") or width // heads
    rope = config.get("rope_parameters") or {}
    full = rope.get("full_attention", rope)
    scaling = full if full.get("rope_type", "default") != "default" else config.get("rope_scaling")
    kinds = config.get("layer_types") or ["full_attention"] * layers
    end = config.get("eos_token_id")
    return Architecture(
        family=family,
        vocabulary=config["vocab_size"],
        width=width,
        mlp_width=config["intermediate_size"],
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=head_width,
        rope_theta=float(full.get("rope_theta", config.get("rope_theta", 10_000.0))),
        norm_epsilon=config["rms_norm_eps"],
        query_scale=(config["query_pre_attn_scalar"] if gemma else head_width) ** -0.5,
        activation=config.get("hidden_activation") or config.get("hidden_act") or "silu",
        rope_scaling=_rope_scaling(scaling),
        tied=bool(config.get("tie_word_embeddings", gemma)),
        attention_bias=family == "qwen2" or bool(config.get("attention_bias")),
        qk_norm=family == "qwen3" or gemma,
        post_norms=gemma,
        norm_offset=1.0 if gemma else 0.0,
        embedding_scale=float(width) ** 0.5 if gemma else 1.0,
        window=(config.get("sliding_window") or 0) if "sliding_attention" in kinds else 0,
        local_layers=tuple(kind == "sliding_attention" for kind in kinds),
        local_rope_theta=float(
            rope.get("sliding_attention", {}).get(
                "rope_theta", config.get("rope_local_base_freq") or 10_000.0
            )
        ),
        end_token=(end[0] if isinstance(end, list) else end) or 0,
    )


def _rope_scaling(scaling: Mapping[str, Any] | None) -> RopeScaling | None:
    if not scaling:
        return None
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling("linear", float(scaling["factor"]))
    if kind == "llama3":
        return RopeScaling(
            "llama3",
            float(scaling["factor"]),
            float(scaling["low_freq_factor"]),
            float(scaling["high_freq_factor"]),
            int(scaling["original_max_position_embeddings"]),
        )
    raise CheckpointError(f"rotary scaling '{kind}' is not supported. Supported: default, linear, llama3.")


def hugging_face_config(architecture: Architecture) -> dict[str, Any]:
    """The content of `config.json` for a decoder; the inverse of `architecture_of`."""
    a = architecture
    gemma = a.family == "gemma3_text"
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": a.rope_theta}
    if a.rope_scaling is not None:
        s = a.rope_scaling
        rope |= {"rope_type": s.kind, "factor": s.factor}
        if s.kind == "llama3":
            rope |= {
                "low_freq_factor": s.low_frequency_factor,
                "high_freq_factor": s.high_frequency_factor,
                "original_max_position_embeddings": s.original_positions,
            }
    config: dict[str, Any] = {
        "model_type": a.family,
        "architectures": [_CLASSES[a.family]],
        "vocab_size": a.vocabulary,
        "hidden_size": a.width,
        "intermediate_size": a.mlp_width,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "head_dim": a.head_width,
        "rms_norm_eps": a.norm_epsilon,
        "hidden_activation" if gemma else "hidden_act": a.activation,
        "tie_word_embeddings": a.tied,
        "attention_bias": a.attention_bias,
        "rope_parameters": rope,
        "max_position_embeddings": 131_072,
        "eos_token_id": a.end_token,
        "dtype": "float32",
    }
    if gemma:
        local = {"rope_type": "default", "rope_theta": a.local_rope_theta}
        config |= {
            "query_pre_attn_scalar": a.query_scale**-2,
            "sliding_window": a.window,
            "layer_types": ["sliding_attention" if local else "full_attention" for local in a.local_layers],
            "rope_parameters": {"full_attention": rope, "sliding_attention": local},
        }
    return config


_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
