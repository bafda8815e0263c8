"""Reads the files of an encoder of any family."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.errors import EncoderError


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises `EncoderError` if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{path} does not exist. Give the directory of an encoder.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderError(f"{path} cannot be read: {error}.") from error


def read_table(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds one object; raises `EncoderError` if it does not."""
    table = read_json(path)
    if not isinstance(table, dict):
        raise EncoderError(f"{path} must hold a JSON object, not {table!r:.60}.")
    return table


def read_tensors(directory: Path) -> tuple[dict[str, np.ndarray], str]:
    """Reads `model.safetensors`, or the files that its index names.

    Returns:
        Tensors by name, and the SHA-256 of the file, or of the hashes of all files.

    Raises:
        EncoderError: A file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    paths = [directory / "model.safetensors"]
    index = directory / "model.safetensors.index.json"
    if index.is_file() and not paths[0].is_file():
        names = read_table(index).get("weight_map")
        if not isinstance(names, dict) or not all(
            str(name) == Path(str(name)).name for name in names.values()
        ):
            raise EncoderError(f"{index}: 'weight_map' must map tensors to files of the same directory.")
        paths = [directory / name for name in sorted(set(names.values()))]
    tensors: dict[str, np.ndarray] = {}
    digests = []
    for path in paths:
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
            with safe_open(path, "numpy") as opened:
                tensors |= {name: opened.get_tensor(name) for name in opened.keys()}
        except FileNotFoundError:
            raise EncoderError(f"{path} does not exist. Give the directory of an encoder.") from None
        except (OSError, SafetensorError, ValueError, TypeError) as error:
            raise EncoderError(f"{path} cannot be read: {error}. Download the weights again.") from error
    if len(paths) == 1:
        return tensors, digests[0]
    return tensors, hashlib.sha256("".join(digests).encode()).hexdigest()


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
