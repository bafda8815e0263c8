"""Reads the files of an encoder of any family."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.pooling import Pooling


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises `EncoderError` if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{path} does not exist. Give the directory of an encoder.") from None
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}.") from error


def read_pooling(directory: Path) -> tuple[Pooling, int | None]:
    """Reads the files of sentence-transformers: the pooling, and the largest number of tokens or None.

    A model without these files is pooled by the mean and not normalised.

    Raises:
        EncoderError: A file is missing or cannot be read, or the pooling is not supported.
    """
    kind: Literal["mean", "cls"] = "mean"
    normalize = False
    if (directory / "modules.json").is_file():
        for module in read_json(directory / "modules.json"):
            name = str(module.get("type", "")).rsplit(".", 1)[-1]
            if name == "Pooling":
                kind = _pooling_kind(directory / module["path"] / "config.json")
            elif name == "Normalize":
                normalize = True
            elif name != "Transformer":
                raise EncoderError(f"{directory}: sentence-transformers module '{name}' is not supported.")
    limit = None
    if (directory / "sentence_bert_config.json").is_file():
        limit = read_json(directory / "sentence_bert_config.json").get("max_seq_length")
    return Pooling(kind, normalize), limit


def _pooling_kind(path: Path) -> Literal["mean", "cls"]:
    modes = {name for name, on in read_json(path).items() if name.startswith("pooling_mode_") and on is True}
    known: dict[str, Literal["mean", "cls"]] = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
    }
    if len(modes) != 1 or not modes <= set(known):
        raise EncoderError(f"{path}: pooling {sorted(modes)} is not supported. Supported: mean, or CLS.")
    return known[modes.pop()]


def read_tensors(directory: Path) -> tuple[dict[str, np.ndarray], str]:
    """Reads `model.safetensors`; returns tensors by name, and the SHA-256 of the file.

    Raises:
        EncoderError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = directory / "model.safetensors"
    try:
        data = path.read_bytes()
        return load(data), hashlib.sha256(data).hexdigest()
    except FileNotFoundError:
        raise EncoderError(f"{path} does not exist. Give the directory of an encoder.") from None
    except (OSError, SafetensorError, ValueError) as error:
        raise EncoderError(f"{path} cannot be read: {error}. Download the weights again.") from error


def read_tokenizer(directory: Path) -> tuple[Any, str]:
    """Reads `tokenizer.json`; returns a tokenizer that does not cut or pad, and the SHA-256 of the file.

    Raises:
        EncoderError: The file is missing or damaged.
    """
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        raise EncoderError(f"{path} does not exist. Give the directory of an encoder.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise EncoderError(f"{path} cannot be read: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, hashlib.sha256(path.read_bytes()).hexdigest()


def check_shapes(tensors: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raises `EncoderError` with the names of all tensors that are missing, unexpected or of another shape."""
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in expected]
    problems += [
        f"{name} is {tensors[name].shape}, not {shape}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    if problems:
        raise EncoderError(f"the tensors do not belong to config.json: {'; '.join(problems)}.")
