"""Reads and writes safetensors and JSON files, and computes digests. Never leaves half a file."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError, safe_open

from fspo_jax.errors import CheckpointError

Opener = Callable[[str, int], int]

FORMAT_VERSION = 2
"""Version of reward directories and user files. Other versions are refused."""


def tree_digest(tree: Any, record: Any = None) -> str:
    """SHA-256 of the names, types, shapes and bytes of all leaves, and of `record`, any JSON value."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name, leaf in sorted(named_leaves(tree).items()):
        array = np.asarray(leaf)
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def named_leaves(tree: Any) -> dict[str, Any]:
    def part(key: Any) -> str:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                return str(getattr(key, attribute))
        return str(key)

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(map(part, path)): leaf for path, leaf in leaves}


def nested(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `named_leaves`, for nested dicts. Digits become integer keys, which replace list positions.

    Raises:
        ValueError: A name is the beginning of another one, or two names mean the same.
    """

    def path(name: str) -> tuple[str | int, ...]:
        return tuple(int(part) if part.isdecimal() else part for part in name.split("/"))

    leaves = {path(name): tensor for name, tensor in tensors.items()}
    inner = {whole[:end] for whole in leaves for end in range(len(whole))}
    if inner & leaves.keys() or len(leaves) < len(tensors):
        raise ValueError("names of tensors contradict each other")
    return unflatten_dict(leaves)


def shape_faults(params: Any, expected: Any) -> list[str]:
    """Describes the differences in names, shapes and types between a tree of arrays and the expected tree."""
    shapes, given = (
        {name: f"{leaf.dtype.name} {list(leaf.shape)}" for name, leaf in named_leaves(tree).items()}
        for tree in (expected, params)
    )
    return [
        *(f"{name} is missing" for name in sorted(shapes.keys() - given.keys())),
        *(f"{name} is unknown" for name in sorted(given.keys() - shapes.keys())),
        *(
            f"{name} is {given[name]}, not {shapes[name]}"
            for name in sorted(shapes.keys() & given.keys())
            if shapes[name] != given[name]
        ),
    ]


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (
        OSError,
        SafetensorError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:  # unknown types of numbers
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error}).") from None


def describe_path(path: Path) -> str:
    """Describes what is at `path`, for messages."""
    try:
        if path.is_file():
            return f"a file of {path.stat().st_size:,} bytes"
        if not path.exists():
            return "no such file or directory"
        if not path.is_dir():
            return "neither a file nor a directory"
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        return f"cannot be read ({error})"
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"a directory with {listed}" if names else "an empty directory"


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file: all of it or nothing; raises `OSError`."""
    write_whole(path, json.dumps(value, indent=2).encode())


def write_synced(path: Path, data: bytes, opener: Opener | None = None) -> None:
    with open(path, "wb", opener=opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes, opener: Opener | None = None) -> None:
    """Writes a file: all of it or nothing.

    Args:
        path: The file.
        data: What it contains.
        opener: As of `open`, for example `private_opener`.

    Raises:
        OSError: The file cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write_synced(fresh, data, opener)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
