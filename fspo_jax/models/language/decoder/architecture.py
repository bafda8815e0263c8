"""The architecture of a decoder, read from the `config.json` of a checkpoint of a supported family."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fspo_jax.errors import CheckpointError, did_you_mean_path
from fspo_jax.models.language.decoder.config_keys import refuse_unknown_keys, refuse_unknown_rope, rope_kind
from fspo_jax.models.language.decoder.end_tokens import read_end_tokens
from fspo_jax.text.advice import without_advice

FAMILIES = {
    "llama": "Llama 2 and 3, SmolLM2",
    "qwen2": "Qwen2.5",
    "qwen3": "Qwen3",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3",
}
"""Model types of transformers that the decoder supports; its numbers agree with theirs."""

ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh")


@dataclass(frozen=True)
class RopeScaling:
    """Scaling of rotary frequencies.

    Attributes:
        kind: `linear` divides all frequencies by `factor`; `llama3` and `yarn` divide the low ones only; `dynamic`
            divides them only in rows that are longer than `original_positions`.
        low, high: Of `llama3`, the wave numbers below which a frequency is divided, and above which it is not. Of
            `yarn`, the same (`beta_slow` and `beta_fast`).
        original_positions: Number of positions before scaling.
        attention_factor: Of `yarn`, the factor of rotated queries and keys.
        truncate: Of `yarn`, whether the range between low and high is rounded to whole frequencies.
    """

    kind: str
    factor: float
    low: float = 1.0
    high: float = 1.0
    original_positions: int = 0
    attention_factor: float = 1.0
    truncate: bool = True


@dataclass(frozen=True)
class Architecture:
    """Shapes and switches of a decoder. D: width, H: heads, L: layers, V: vocabulary.

    Attributes:
        family: Key of `FAMILIES`. It decides the names of tensors in files.
        kv_heads: Number of key-value heads; each serves `heads / kv_heads` query heads.
        query_scale: Factor of the products of queries and keys.
        tied: Whether the output matrix is the embedding.
        attention_bias: Whether the projections to queries, keys and values have a bias.
        output_bias: Whether the projection out of the attention has a bias.
        mlp_bias: Whether the projections of the MLP have a bias.
        qk_norm: Whether the queries and keys of each head are normalised.
        post_norms: Whether a norm also follows attention and MLP.
        norm_offset: Added to the stored weights of norms.
        embedding_scale: Factor of embeddings.
        window: Number of positions that a local layer sees; 0 if no layer is local.
        local_layers: For each layer, whether it is local.
        local_rope_theta: Rotary base of local layers; 0 if they rotate like the others.
        attention_softcap: Bound `c` of the products of queries and keys, `c tanh(x / c)`; 0 for none.
        logit_softcap: The same of the logits.
        positions: Number of positions that the makers intended.
        end_tokens: Tokens that end an answer. Training writes the first.
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
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    norm_offset: float = 0.0
    embedding_scale: float = 1.0
    window: int = 0
    local_layers: tuple[bool, ...] = ()
    local_rope_theta: float = 0.0
    attention_softcap: float = 0.0
    logit_softcap: float = 0.0
    positions: int = 131_072
    end_tokens: tuple[int, ...] = ()

    def lower(self, layers: int) -> Architecture:
        """The architecture of the first layers."""
        return replace(self, layers=layers, local_layers=self.local_layers[:layers])

    def upper(self, layers: int) -> Architecture:
        """The architecture of the layers after the first `layers`."""
        return replace(self, layers=self.layers - layers, local_layers=self.local_layers[layers:])


def read_architecture(directory: str | Path) -> Architecture:
    """Reads `config.json` of a checkpoint directory through transformers' `AutoConfig`.

    Every key is computed, known to change nothing, or refused by name.

    Raises:
        CheckpointError: There is no such file; the family or a key is not supported; or no token ends an answer.
    """
    path = Path(directory)
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path}: no config.json found.{did_you_mean_path(path)}")
    with without_advice():
        from transformers import AutoConfig

    try:
        _check_family(json.loads((path / "config.json").read_text(encoding="utf-8")).get("model_type"))
        # By default transformers asks on the standard input whether it may run the checkpoint's code.
        config = AutoConfig.from_pretrained(str(path), trust_remote_code=False).to_dict()
    except CheckpointError:
        raise
    except Exception as error:  # transformers and its checks raise errors of many types
        raise CheckpointError(f"{path / 'config.json'}: cannot be read ({error}).") from None
    try:
        vocabulary = int(config.get("vocab_size") or 0)
        return architecture_of(config, lambda: read_end_tokens(path, vocabulary))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path / 'config.json'}: a value is missing or wrong ({error!r}).") from None


def architecture_of(
    config: Mapping[str, Any], end_tokens: Callable[[], tuple[int, ...]] = tuple
) -> Architecture:
    """Translates a config of transformers as `AutoConfig` gives it, which has `rope_parameters`.

    Args:
        config: All keys, also those left at their defaults.
        end_tokens: Gives `Architecture.end_tokens`, once the config is found to be supported.

    Raises:
        CheckpointError: The family or a key is not supported.
    """
    family = config.get("model_type", "")
    _check_family(family)
    refuse_unknown_keys(family, config)
    gemma, separate = family.startswith("gemma"), family == "gemma3_text"
    heads, width, layers = (
        config[name] for name in ("num_attention_heads", "hidden_size", "num_hidden_layers")
    )
    head_width = config.get("head_dim") or width // heads
    activation = config["hidden_activation" if gemma else "hidden_act"]
    if activation not in ACTIVATIONS:
        raise CheckpointError(
            f"activation '{activation}' is not supported. Supported: {', '.join(ACTIVATIONS)}."
        )
    kinds = config.get("layer_types") or ["full_attention"] * layers
    local = tuple(kind == "sliding_attention" for kind in kinds)
    supported = {"full_attention"} if family == "llama" else {"full_attention", "sliding_attention"}
    if set(kinds) - supported or len(kinds) != layers:
        raise CheckpointError(f"the kinds of the {layers} layers (layer_types) are not supported: {kinds}.")
    positions = int(config["max_position_embeddings"])
    rope = config["rope_parameters"]
    full = rope["full_attention"] if separate else rope
    near = rope["sliding_attention"] if separate else {}
    for part in (full, near):
        refuse_unknown_rope(part)
    if rope_kind(near) != "default":
        raise CheckpointError("rotary scaling of local layers is not supported.")
    scaling = _rope_scaling(full, positions)
    if near and scaling is not None and scaling.attention_factor != 1.0:
        raise CheckpointError("YaRN's attention_factor is not supported in a model with local layers.")
    bias = bool(config.get("attention_bias"))
    return Architecture(
        family=family,
        vocabulary=config["vocab_size"],
        width=width,
        mlp_width=config["intermediate_size"],
        layers=layers,
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=head_width,
        rope_theta=float(full["rope_theta"]),
        norm_epsilon=config["rms_norm_eps"],
        query_scale=(config["query_pre_attn_scalar"] if gemma else head_width) ** -0.5,
        activation=activation,
        rope_scaling=scaling,
        tied=bool(config["tie_word_embeddings"]),
        attention_bias=family == "qwen2" or bias,
        output_bias=bias,
        mlp_bias=bool(config.get("mlp_bias")),
        qk_norm=family in ("qwen3", "gemma3_text"),
        post_norms=gemma,
        norm_offset=1.0 if gemma else 0.0,
        embedding_scale=float(width) ** 0.5 if gemma else 1.0,
        window=int(config.get("sliding_window") or 0) if any(local) else 0,
        local_layers=local,
        local_rope_theta=float(near.get("rope_theta", 0.0)),
        attention_softcap=float(config.get("attn_logit_softcapping") or 0.0),
        logit_softcap=float(config.get("final_logit_softcapping") or 0.0),
        positions=positions,
        end_tokens=end_tokens(),
    )


def _check_family(family: Any) -> None:
    if family not in FAMILIES:
        known = ", ".join(f"{key} ({name})" for key, name in FAMILIES.items())
        raise CheckpointError(f"model type '{family}' is not supported. Supported: {known}.")


def _rope_scaling(rope: Mapping[str, Any], positions: int) -> RopeScaling | None:
    kind = rope_kind(rope)
    if kind == "default":
        return None
    original = int(rope.get("original_max_position_embeddings") or positions)
    if kind == "linear":
        return RopeScaling(kind, float(rope["factor"]))
    if kind == "dynamic":  # transformers reads the positions of the model here
        return RopeScaling(kind, float(rope["factor"]), original_positions=positions)
    if kind == "llama3":
        low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
        return RopeScaling(kind, float(rope["factor"]), low, high, original)
    factor = float(rope.get("factor") or positions / original)
    attention = rope.get("attention_factor")
    if attention is None:
        above, below = float(rope.get("mscale") or 0.0), float(rope.get("mscale_all_dim") or 0.0)
        if not (above and below):
            above, below = 1.0, 0.0
        attention = _yarn_attention(factor, above) / _yarn_attention(factor, below)
    return RopeScaling(
        kind,
        factor,
        float(rope.get("beta_slow") or 1.0),
        float(rope.get("beta_fast") or 32.0),
        original,
        float(attention),
        bool(rope.get("truncate", True)),
    )


def _yarn_attention(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def hugging_face_config(architecture: Architecture) -> dict[str, Any]:
    """The content of `config.json` for a decoder; the inverse of `architecture_of`."""
    a = architecture
    gemma = a.family.startswith("gemma")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": a.rope_theta}
    if a.rope_scaling is not None:
        s = a.rope_scaling
        rope |= {"rope_type": s.kind, "factor": s.factor}
        if s.kind in ("llama3", "yarn"):
            low, high = ("low_freq_factor", "high_freq_factor")
            if s.kind == "yarn":
                low, high = ("beta_slow", "beta_fast")
                rope |= {"attention_factor": s.attention_factor, "truncate": s.truncate}
            rope |= {low: s.low, high: s.high, "original_max_position_embeddings": s.original_positions}
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
        "rope_parameters": rope,
        "max_position_embeddings": a.positions,
        "eos_token_id": list(a.end_tokens),
        "dtype": "float32",
    }
    kinds = ["sliding_attention" if local else "full_attention" for local in a.local_layers]
    if a.family != "qwen2":  # whose biases are a part of the family
        config |= {"attention_bias": a.attention_bias}
    if a.family == "llama":
        config |= {"mlp_bias": a.mlp_bias}
    if a.family.startswith("qwen") and a.window:
        config |= {"layer_types": kinds, "sliding_window": a.window, "use_sliding_window": True}
    if a.local_rope_theta:
        local = {"rope_type": "default", "rope_theta": a.local_rope_theta}
        config |= {"rope_parameters": {"full_attention": rope, "sliding_attention": local}}
    if gemma:
        config |= {
            "layer_types": kinds,
            "sliding_window": a.window or None,
            "query_pre_attn_scalar": round(a.query_scale**-2),
            "final_logit_softcapping": a.logit_softcap or None,
            "attn_logit_softcapping": a.attention_softcap or None,
        }
    return config


_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
