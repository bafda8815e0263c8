"""The `config.json` of a GGUF file. A setting that is not known is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fspo_jax.errors import CheckpointError

MISSING = object()


class Settings:
    """The settings of an architecture in the metadata; remembers which were read."""

    def __init__(self, metadata: Mapping[str, Any]):
        prefix = f"{metadata['general.architecture']}."
        self._values = {
            name.removeprefix(prefix): value for name, value in metadata.items() if name.startswith(prefix)
        }
        self._read: set[str] = set()

    def take(self, name: str, default: Any = MISSING) -> Any:
        """Returns a setting; raises `CheckpointError` if it is missing and has no default."""
        self._read.add(name)
        value = self._values.get(name, default)
        if value is MISSING:
            raise CheckpointError(f"the setting '{name}' is missing.")
        return value

    def refuse_others(self) -> None:
        """Raises `CheckpointError` if a setting was not read."""
        others = sorted(set(self._values) - self._read)
        if others:
            shown = ", ".join(f"{name} = {str(self._values[name])[:60]}" for name in others)
            raise CheckpointError(f"these settings are not supported: {shown}.")


def read_config(
    metadata: Mapping[str, Any],
    model_type: str,
    shapes: Mapping[str, tuple[int, ...]],
    rope_factors: np.ndarray | None,
) -> dict[str, Any]:
    """Translates metadata to the keys of transformers.

    Args:
        metadata: All fields of the file.
        model_type: Family of transformers.
        shapes: Shapes of the tensors, outputs first.
        rope_factors: Divisors of the rotary frequencies, which Llama 3.1 stores as a tensor.

    Raises:
        CheckpointError: A setting is missing or not supported.
    """
    settings = Settings(metadata)
    take = settings.take
    gemma = model_type == "gemma3_text"
    width, layers, heads = (
        take("embedding_length"),
        take("block_count"),
        take("attention.head_count"),
    )
    head_width = take("attention.key_length", width // heads)
    rotary = take("rope.dimension_count", head_width)
    if rotary != head_width or take("attention.value_length", head_width) != head_width:
        raise CheckpointError(
            "heads of which only a part is rotated, or with wider values, are not supported."
        )
    for name in ("expert_count", "expert_used_count"):
        if take(name, 0):
            raise CheckpointError("mixtures of experts are not supported.")
    if not take("attention.causal", True):
        raise CheckpointError("attention to later tokens is not supported.")
    try:
        vocabulary = shapes["token_embd.weight"][0]
    except KeyError:
        raise CheckpointError("the tensor token_embd.weight is missing.") from None
    take("vocab_size", vocabulary)
    positions = take("context_length")
    scalar = head_width if layers != 62 else width // heads  # Gemma 3 27B, as in llama.cpp
    rope = _rope(take, positions, rope_factors, head_width)
    config: dict[str, Any] = {
        "model_type": model_type,
        "architectures": [_CLASSES[model_type]],
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": take("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": take("attention.head_count_kv", heads),
        "head_dim": head_width,
        "rms_norm_eps": take("attention.layer_norm_rms_epsilon"),
        "hidden_activation" if gemma else "hidden_act": "gelu_pytorch_tanh" if gemma else "silu",
        "tie_word_embeddings": "output.weight" not in shapes,
        "attention_bias": model_type != "qwen2" and "blk.0.attn_q.bias" in shapes,
        "max_position_embeddings": positions,
        "rope_parameters": rope,
        "dtype": "float32",
    }
    if gemma:
        period = take("attention.sliding_window_pattern", 6)
        if not isinstance(period, int):
            kinds = [bool(local) for local in period]
        else:
            kinds = [bool((i + 1) % period) for i in range(layers)]
        config |= {
            "query_pre_attn_scalar": scalar,
            "sliding_window": take("attention.sliding_window"),
            "layer_types": ["sliding_attention" if local else "full_attention" for local in kinds],
            "final_logit_softcapping": take("final_logit_softcapping", None),
            "attn_logit_softcapping": take("attn_logit_softcapping", None),
            "rope_parameters": {
                "full_attention": rope,
                "sliding_attention": {
                    "rope_type": "default",
                    "rope_theta": take("rope.freq_base_swa", 10_000.0),
                },
            },
        }
    settings.refuse_others()
    return config


def _rope(take: Any, positions: int, factors: np.ndarray | None, head_width: int) -> dict[str, Any]:
    theta = take("rope.freq_base", 10_000.0)
    kind = take("rope.scaling.type", "none")
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    factor = take("rope.scaling.factor", 1.0)
    original = take("rope.scaling.original_context_length", positions)
    take("rope.scaling.finetuned", True)
    if kind == "linear":
        rope |= {"rope_type": "linear", "factor": factor}
    elif kind == "yarn":
        rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
        for old, new in (("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")):
            value = take(f"rope.scaling.{old}", None)
            rope |= {} if value is None else {new: value}
    elif kind != "none":
        raise CheckpointError(f"rotary scaling '{kind}' is not supported. Supported: none, linear, yarn.")
    if factors is not None:
        rope |= _llama3(theta, factors, head_width)
    return rope


def _llama3(theta: float, factors: np.ndarray, head_width: int) -> dict[str, Any]:
    """Finds the scaling of Llama 3 whose divisors the file stores."""
    frequency = theta ** -(np.arange(0, head_width, 2) / head_width)
    largest = float(factors.max())
    turns = 8192 * frequency / (2 * np.pi)
    between = ((turns - 1.0) / 3.0).clip(0.0, 1.0)
    expected = 1.0 / (between + (1.0 - between) / largest)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-3):
        raise CheckpointError(
            "the rotary factors (rope_freqs) are not those of Llama 3, and are not supported."
        )
    return {
        "rope_type": "llama3",
        "factor": largest,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


_CLASSES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
