"""Turns a GGUF file into a directory of Hugging Face files. Quantised weights become float32.

Source: the GGUF format of ggml; names and order of tensors as in llama.cpp's `convert_hf_to_gguf.py`.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.errors import CheckpointError, counted, how_to_install
from fspo_jax.models.pretrained.gguf_config import read_config
from fspo_jax.models.pretrained.gguf_tokenizer import write_tokenizer

VERSION = 1
"""Goes up when the conversion changes, so that what was kept in the cache is made again."""

KINDS = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}
"""Model type of transformers for each `general.architecture` that can be read."""

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GEMMA_NAMES = {
    "ffn_norm": "pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
ROPE_FACTORS = "rope_freqs.weight"


def gguf_directory(cache: Path, digest: str) -> Path:
    """The directory of the cache for the GGUF file with this SHA-256."""
    return cache / f"gguf-{digest[:16]}-{VERSION}"


def convert_gguf(path: Path, directory: Path) -> None:
    """Writes `config.json`, `generation_config.json`, the tokenizer and `model.safetensors`.

    Float16 and bfloat16 tensors keep their type. All others become float32.

    Args:
        path: A GGUF file.
        directory: An empty directory.

    Raises:
        CheckpointError: The file is damaged or of an unknown family, has tensors or settings that are not supported, or
            the package `gguf` is not installed.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise CheckpointError(f"{path}: GGUF files need the package gguf. {how_to_install('gguf')}") from None
    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        architecture = metadata["general.architecture"]
    except (ValueError, IndexError, KeyError, OverflowError, struct.error) as error:
        raise CheckpointError(
            f"{path}: is damaged, or not a GGUF file ({type(error).__name__}: {error})."
        ) from None
    try:
        if architecture not in KINDS:
            raise CheckpointError(
                f"architecture '{architecture}' is not supported. Supported: {', '.join(KINDS)}."
            )
        if metadata.get("split.count", 1) > 1:
            raise CheckpointError("is one of several files. Merge them with llama-gguf-split --merge.")
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        factors = tensors.pop(ROPE_FACTORS, None)
        config = read_config(
            metadata,
            KINDS[architecture],
            {name: tuple(int(n) for n in tensor.shape[::-1]) for name, tensor in tensors.items()},
            None if factors is None else np.asarray(factors.data, np.float64),
        )
        ends = write_tokenizer(metadata, config["vocab_size"], directory)
        for name, content in (
            ("config.json", config | {"eos_token_id": ends}),
            ("generation_config.json", {"eos_token_id": ends}),
        ):
            (directory / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
        _write_tensors(tensors, config, directory / "model.safetensors")
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _write_tensors(tensors: Mapping[str, Any], config: Mapping[str, Any], path: Path) -> None:
    """Writes a safetensors file one tensor at a time, so that one tensor is in memory."""
    gemma = config["model_type"] == "gemma3_text"
    names = {name: _hugging_face_name(name, gemma) for name in tensors}
    unknown = [name for name, new in names.items() if new is None]
    if unknown:
        raise CheckpointError(
            f"{counted(len(unknown), 'tensor')} of an unknown name: {', '.join(unknown[:20])}."
        )
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, tensor in tensors.items():
        shape = [int(n) for n in tensor.shape[::-1]]
        kind = tensor.tensor_type.name if tensor.tensor_type.name in ("F16", "BF16") else "F32"
        size = math.prod(shape) * (4 if kind == "F32" else 2)
        header[str(names[name])] = {"dtype": kind, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors.items():
            file.write(_values(name, tensor, config).tobytes())


def _hugging_face_name(name: str, gemma: bool) -> str | None:
    known = _NAMES | (_GEMMA_NAMES if gemma else {})
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?([a-z_]+)\.(weight|bias)", name)
    if not match or match[2] not in known:
        return None
    stem = known[match[2]]
    return f"model.layers.{match[1]}.{stem}.{match[3]}" if match[1] else f"{stem}.{match[3]}"


def _values(name: str, tensor: Any, config: Mapping[str, Any]) -> np.ndarray:
    """The values of a tensor as they belong into the file; those of bfloat16 as `uint16`."""
    from gguf.quants import dequantize

    kind, shape = tensor.tensor_type, tuple(int(n) for n in tensor.shape[::-1])
    if kind.name == "BF16":
        values = np.ascontiguousarray(tensor.data).view(np.uint16)
    elif kind.name == "F16":
        values = np.asarray(tensor.data)
    else:
        try:
            values = dequantize(tensor.data, kind).astype(np.float32)
        except (NotImplementedError, ValueError) as error:
            raise CheckpointError(f"tensor {name} of type {kind.name} cannot be read ({error}).") from None
    values = values.reshape(shape)
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(name.split(".")[-2])
    if heads and config["model_type"] == "llama":
        # llama.cpp rotates neighbours; transformers rotates the two halves of a head.
        pairs = values.reshape(config[heads], -1, 2, *shape[1:])
        values = pairs.swapaxes(1, 2).reshape(shape)
    if config["model_type"] == "gemma3_text" and name.split(".")[-2].endswith("norm"):
        values = values - np.float32(1.0)  # llama.cpp stores what the norm multiplies with
    return values
