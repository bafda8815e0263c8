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


def weight_files(directory: Path) -> list[Path]:
    """Returns the paths of `model.safetensors`, or of the files that its index names.

    Raises:
        EncoderError: The index is damaged.
    """
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file() or not index.is_file():
        return [single]
    names = read_table(index).get("weight_map")
    if not isinstance(names, dict) or not all(str(name) == Path(str(name)).name for name in names.values()):
        raise EncoderError(f"{index}: 'weight_map' must map tensors to files of the same directory.")
    return [directory / name for name in sorted(set(names.values()))]


def weight_digest(directory: Path) -> str:
    """Returns the SHA-256 of the file of weights, or of the hashes of all files; raises `EncoderError` without one."""
    digests = []
    for path in weight_files(directory):
        try:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except FileNotFoundError:
            hint = "Give the directory of an encoder."
            if any(directory.glob("*.bin")):
                hint = "Only safetensors are read: convert the .bin files with `save_pretrained` of transformers."
            raise EncoderError(f"{path} does not exist. {hint}") from None
        except OSError as error:
            raise EncoderError(f"{path} cannot be read: {error}.") from None
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def read_tensors(directory: Path) -> dict[str, np.ndarray]:
    """Reads the tensors of `weight_files` by name; raises `EncoderError` if a file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, np.ndarray] = {}
    for path in weight_files(directory):
        try:
            with safe_open(path, "numpy") as opened:
                tensors |= {name: opened.get_tensor(name) for name in opened.keys()}
        except (OSError, SafetensorError, ValueError, TypeError) as error:
            raise EncoderError(f"{path} cannot be read: {error}. Download the weights again.") from error
    return tensors


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
