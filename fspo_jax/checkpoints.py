"""Files that serving reads: exported rewards and saved users, as safetensors and JSON, never pickle.

    <reward>/model.safetensors      parameters, flat names joined with "/"
    <reward>/config.json            format version, config, fingerprints, validation metrics
    <user>                          one safetensors file: context features, fingerprint of the reward

Everything is written beside its place and renamed: a kill or a full disk never leaves half a file. What is
read is checked against a SHA-256 digest. The checkpoints of a run are in `training.run_checkpoints`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from fspo_jax.config import TrainConfig, config_from_dict, config_to_dict
from fspo_jax.errors import CheckpointError, ConfigError, did_you_mean_path
from fspo_jax.models.scorers import make_scorer

FORMAT_VERSION = 1
"""Version of the reward directory and of the user file; other versions are refused."""

TENSORS, METADATA = "model.safetensors", "config.json"
REWARD, CHECKPOINTS = "reward", "checkpoints"
"""Names inside a run directory."""

Params = Any


class Features(Protocol):
    """What an exported reward says about the features it reads; a `Featurizer` fits."""

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class RewardMetadata:
    """What stands beside the parameters of an exported reward.

    Attributes:
        config: The config it was meta-trained with.
        feature_dimension: F, width of the features it reads.
        featurizer_fingerprint: Which featurizer made them.
        fingerprint: See `reward_fingerprint`.
        validation: Metrics on meta-validation users, such as `{"log_loss": 0.51, "accuracy@8": 0.74}`.
        package_version: `fspo_jax` that wrote it.
    """

    config: TrainConfig
    feature_dimension: int
    featurizer_fingerprint: str
    fingerprint: str
    validation: Mapping[str, float]
    package_version: str


def tree_digest(tree: Any, record: Any = None) -> str:
    """SHA-256 over names, types, shapes and bytes of all leaves, and over `record`, any JSON value."""
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name, leaf in sorted(_named_leaves(tree).items()):
        array = np.asarray(leaf)
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def reward_fingerprint(params: Params, config: TrainConfig, featurizer_fingerprint: str) -> str:
    """Digest of all that decides a reward: parameters, scorer, limit of shots and featurizer."""
    record = {
        "scorer": config_to_dict(config.scorer),
        "max_context": config.episodes.max_context,
        "featurizer": featurizer_fingerprint,
    }
    return tree_digest(params, record)


def write_reward(
    directory: str | Path,
    params: Params,
    config: TrainConfig,
    *,
    featurizer: Features,
    validation: Mapping[str, float] | None = None,
) -> None:
    """Writes an exported reward directory, whole or not at all; one that is there already is replaced.

    Args:
        directory: Where to; its parents are made.
        params: Nested dicts of arrays, as `config.scorer` makes them.
        config: The resolved config.
        featurizer: Its `dimension` and `fingerprint` are stored.
        validation: Metrics on meta-validation users.

    Raises:
        CheckpointError: The path holds something else, or cannot be written (for example, the disk is full);
            what was there is untouched.
    """
    from fspo_jax import __version__

    directory = Path(directory)
    if directory.exists() and not _is_reward(directory) and (directory.is_file() or any(directory.iterdir())):
        raise CheckpointError(f"{directory}: {_found(directory)}; name a new or an empty directory.")
    metadata = {
        "format_version": FORMAT_VERSION,
        "fspo_jax": __version__,
        "fingerprint": reward_fingerprint(params, config, featurizer.fingerprint),
        "feature_dimension": featurizer.dimension,
        "featurizer_fingerprint": featurizer.fingerprint,
        "validation": dict(validation or {}),
        "config": config_to_dict(config),
    }
    # Not `ascontiguousarray`: that gives scalars an axis.
    tensors = {name: np.asarray(leaf, order="C") for name, leaf in _named_leaves(params).items()}
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            fresh.chmod(0o755)
            _write_synced(fresh / TENSORS, to_safetensors(tensors))
            _write_synced(fresh / METADATA, json.dumps(metadata, indent=2).encode())
            old = fresh.with_name(fresh.name + ".old")
            if directory.exists():
                directory.rename(old)
            fresh.rename(directory)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(f"{directory}: the reward was not saved: {error}.") from error


def read_reward(path: str | Path) -> tuple[Params, RewardMetadata]:
    """Reads an exported reward directory, or the exported reward of a run directory.

    Returns:
        Parameters as nested dicts of numpy arrays, and the metadata.

    Raises:
        CheckpointError: The path is not a checkpoint, is of another format version, or is damaged.
    """
    directory = _reward_directory(Path(path))
    try:
        raw = json.loads((directory / METADATA).read_text(encoding="utf-8"))
        version = raw["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(directory / METADATA, error) from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{directory}: has format version {version!r}, but fspo_jax reads version {FORMAT_VERSION}. "
            f"Load it with fspo_jax {raw.get('fspo_jax', 'of that time')}, or meta-train again."
        )
    try:
        metadata = RewardMetadata(
            config=config_from_dict(raw["config"]),
            feature_dimension=int(raw["feature_dimension"]),
            featurizer_fingerprint=str(raw["featurizer_fingerprint"]),
            fingerprint=raw["fingerprint"],
            validation=dict(raw["validation"]),
            package_version=str(raw["fspo_jax"]),
        )
        tensors, _ = _read_tensors(directory / TENSORS)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise _damaged(directory / METADATA, error) from None
    params = _params_of(tensors, metadata, directory / TENSORS)
    if reward_fingerprint(params, metadata.config, metadata.featurizer_fingerprint) != metadata.fingerprint:
        raise CheckpointError(
            f"{directory}: parameters or config differ from what was saved: the files are damaged or were "
            "edited. Take another copy, or export the reward again."
        )
    return params, metadata


def write_user(path: str | Path, context: np.ndarray, *, fingerprint: str) -> None:
    """Writes one user's context features, `float32 [K, 2, F]`, whole or not at all.

    Raises:
        CheckpointError: The path holds something else, or cannot be written; what was there is untouched.
    """
    path = Path(path)
    if path.exists():
        read_user(path)  # never overwrite what is not a user
    context = np.ascontiguousarray(context, np.float32)
    about = {"format_version": str(FORMAT_VERSION), "kind": "user", "fingerprint": fingerprint}
    about["digest"] = tree_digest(context, fingerprint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(path, to_safetensors({"context": context}, about))
    except OSError as error:
        raise CheckpointError(f"{path}: the user was not saved: {error}.") from error


def read_user(path: str | Path, *, fingerprint: str | None = None) -> np.ndarray:
    """Reads one user's context features, `float32 [K, 2, F]`.

    Args:
        path: The file.
        fingerprint: Of the reward that the user must belong to; None takes any.

    Raises:
        CheckpointError: Not a user file, damaged, of another version, or of another reward.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: {_found(path)}, not a saved user.{did_you_mean_path(path)}")
    tensors, about = _read_tensors(path)
    if about.get("kind") != "user" or set(tensors) != {"context"}:
        raise CheckpointError(f"{path}: a safetensors file, but not a saved user.")
    if about.get("format_version") != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path}: has format version {about.get('format_version')}, but fspo_jax reads version "
            f"{FORMAT_VERSION}. Adapt the user again."
        )
    if about.get("digest") != tree_digest(tensors["context"], about.get("fingerprint")):
        raise CheckpointError(f"{path}: damaged, its digest does not fit. Adapt the user again.")
    if fingerprint is not None and fingerprint != about.get("fingerprint"):
        raise CheckpointError(
            f"{path}: was saved with reward {about.get('fingerprint', '')[:12]}, but this reward is "
            f"{fingerprint[:12]}. Load the reward it was adapted from, or adapt the user again."
        )
    return tensors["context"]


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all; raises `OSError`."""
    _write_whole(path, json.dumps(value, indent=2).encode())


def _named_leaves(tree: Any) -> dict[str, Any]:
    def part(key: Any) -> str:
        for attribute in ("key", "name", "idx"):
            if hasattr(key, attribute):
                return str(getattr(key, attribute))
        return str(key)

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(map(part, path)): leaf for path, leaf in leaves}


def _params_of(tensors: Mapping[str, np.ndarray], metadata: RewardMetadata, path: Path) -> Params:
    """Puts flat tensors into the nested dicts that the scorer expects; raises `CheckpointError`."""
    scorer = make_scorer(metadata.config.scorer, metadata.feature_dimension)
    expected = jax.eval_shape(scorer.init, jax.random.key(0))
    shapes = {name: leaf.shape for name, leaf in _named_leaves(expected).items()}
    given = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != given:
        faults = [f"{name} is missing" for name in sorted(shapes.keys() - given.keys())]
        faults += [f"{name} is unknown" for name in sorted(given.keys() - shapes.keys())]
        faults += [
            f"{name} has shape {list(given[name])}, not {list(shapes[name])}"
            for name in sorted(shapes.keys() & given.keys())
            if shapes[name] != given[name]
        ]
        raise CheckpointError(
            f"{path}: does not fit its config ({metadata.config.scorer.kind}): {'; '.join(faults[:5])}. "
            "Export the reward again."
        )
    return jax.tree.unflatten(jax.tree.structure(expected), [tensors[name] for name in shapes])


def _read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as safetensors ({error}).") from None


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: damaged ({error!r}). Take another copy, or export the reward again.")


def _is_reward(path: Path) -> bool:
    return (path / TENSORS).is_file() and (path / METADATA).is_file()


def _reward_directory(path: Path) -> Path:
    if _is_reward(path):
        return path
    if _is_reward(path / REWARD):
        return path / REWARD
    if (path / CHECKPOINTS).is_dir():
        raise CheckpointError(
            f"{path}: a training run that has not finished, so it has no exported reward yet. Resume it "
            "(`fspo train --resume`, or `train(..., resume=True)`)."
        )
    raise CheckpointError(
        f"{path}: {_found(path)}, not a checkpoint.{did_you_mean_path(path)} Give a run directory, or a directory "
        f"with {TENSORS} and {METADATA}."
    )


def _found(path: Path) -> str:
    """Says what stands at `path`."""
    if path.is_file():
        return f"a file of {path.stat().st_size:,} bytes"
    if not path.exists():
        return "no such file or directory"
    names = sorted(entry.name for entry in path.iterdir())
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"a directory with {listed}" if names else "an empty directory"


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_whole(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_synced(fresh, data)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
