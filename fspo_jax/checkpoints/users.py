"""Saved users: a safetensors file with the context and the fingerprint of the reward."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save as to_safetensors

from fspo_jax.checkpoints.files import FORMAT_VERSION, describe_path, read_tensors, tree_digest, write_whole
from fspo_jax.errors import CheckpointError, did_you_mean_path
from fspo_jax.private_files import private_directory, private_opener, why_not_written


def write_user(path: str | Path, arrays: Mapping[str, np.ndarray], *, fingerprint: str) -> None:
    """Writes a user's context: all of it or nothing. Only the owner can read the file, and directories that it creates.

    Args:
        path: The file.
        arrays: The context as arrays by name.
        fingerprint: The fingerprint of the reward.

    Raises:
        CheckpointError: The path is not a saved user, or cannot be written. It is not changed then.
    """
    path = Path(path)
    check_user_file(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    about = {"format_version": str(FORMAT_VERSION), "kind": "user", "fingerprint": fingerprint}
    about["digest"] = tree_digest(arrays, fingerprint)
    try:
        private_directory(path.parent)
        write_whole(path, to_safetensors(arrays, about), private_opener)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: the user was not saved: {error}.") from error


def check_user_file(path: Path) -> None:
    """Raises `CheckpointError` unless a user can be saved there: as a new file, or in the place of a saved user."""
    if path.exists() and not path.is_file():
        raise CheckpointError(
            f"{path}: {describe_path(path)}. Choose a new file, or a saved user to replace."
        )
    if path.exists():
        read_user(path)  # never replace anything but a saved user
    if why := why_not_written(path):
        raise CheckpointError(f"{path}: the user cannot be saved, because {why}. Choose another file.")


def read_user(path: str | Path, *, fingerprint: str | None = None) -> dict[str, np.ndarray]:
    """Reads a user's context as arrays by name.

    Args:
        path: The file.
        fingerprint: The fingerprint of the reward that the user must belong to; None for any.

    Raises:
        CheckpointError: The file is no saved user, is damaged, has another version, or belongs to another reward.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: {describe_path(path)}, not a saved user.{did_you_mean_path(path)} "
            "Save one first: with 'fspo adapt', or with the method `save` of a user."
        )
    tensors, about = read_tensors(path)
    if about.get("kind") != "user":
        raise CheckpointError(f"{path}: a safetensors file, but not a saved user.")
    if about.get("format_version") != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: has format version {about.get('format_version')}, but fspo_jax reads version "
            f"{FORMAT_VERSION}. Adapt the user again."
        )
    if about.get("digest") != tree_digest(tensors, about.get("fingerprint")):
        raise CheckpointError(f"{path}: damaged, because its digest is wrong. Adapt the user again.")
    if fingerprint is not None and fingerprint != about.get("fingerprint"):
        raise CheckpointError(
            f"{path}: was saved with reward {about.get('fingerprint', '')[:12]}, but this reward is "
            f"{fingerprint[:12]}. Load the reward it was adapted from, or adapt the user again."
        )
    return tensors
