"""Reads and writes exported rewards, as safetensors and JSON. Nothing is pickled.

    <reward>/model.safetensors      parameters, flat names joined with "/"
    <reward>/config.json            format version, config, fingerprints, validation metrics
    <reward>/encoder.safetensors    adapters of the text encoder, if it has any
    <reward>/features.safetensors   scales and directions of the features, if they were fitted
    <reward>/community.safetensors  what is known of a community, if the reward is for one: a Gaussian, and the effects
                                    of texts by keyed hash; no text and no pair
    <user>                          one safetensors file: context features, or texts for a language model that reads
                                    them, and the fingerprint of the reward

Files are written under another name and then renamed, so that a killed process or a full disk never leaves half a file.
Every file is checked against a SHA-256 digest when it is read. Checkpoints of runs are in `training.run.checkpoints`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save as to_safetensors

from fspo_jax.checkpoints.files import (
    FORMAT_VERSION,
    describe_path,
    named_leaves,
    nested,
    read_tensors,
    tree_digest,
    write_synced,
)
from fspo_jax.config import LanguageModelConfig, TrainConfig, check_config, config_from_dict, config_to_dict
from fspo_jax.errors import CheckpointError, ConfigError, EncoderError
from fspo_jax.private_files import make_directory
from fspo_jax.shipped import find_reward, reward_names

MOST_METADATA_BYTES = 1 << 24
MOST_COLUMNS = 1 << 16
LEAST_TEMPERATURE = 1e-2
"""Calibration gives temperatures between exp(-3) and exp(3)."""

TENSORS, METADATA, ENCODER = "model.safetensors", "config.json", "encoder.safetensors"
FITTED = "features.safetensors"
COMMUNITY = "community"
"""Name of what is known of a community, among the parameters and as a file."""
DESCRIPTION = "description"
"""Name of the factors of descriptions among the parameters: for each wide block, its factor and the neutral one."""
REWARD, CHECKPOINTS = "reward", "checkpoints"
"""Names inside a run directory."""

POPULATION, MISMATCHED = "population", "mismatched"
"""Names of runs inside a run directory, for comparison in reports: the population model, and the same scorer trained on
contexts of other users."""

Params = Any


@dataclass(frozen=True)
class RewardMetadata:
    """The metadata of an exported reward.

    Attributes:
        config: The config it was meta-trained with.
        featurizer_fingerprint: Fingerprint of the featurizer that made them.
        fingerprint: See `reward_fingerprint`.
        validation: Metrics on meta-validation users, such as `{"log_loss": 0.51, "accuracy@8": 0.74}`.
        temperature: Divides every reward; 1 unless calibrated.
        base: Where the encoder or the base model was when the reward was saved, as an absolute path; `""` if it is no
            path.
        blocks: Width and fingerprint of each block of features that the reward can be loaded without.
    """

    config: TrainConfig
    featurizer_fingerprint: str
    fingerprint: str
    validation: Mapping[str, float]
    temperature: float = 1.0
    base: str = ""
    blocks: Mapping[str, tuple[int, str]] = field(default_factory=dict)


NOT_IN_FINGERPRINT = ("base", "output_tokens")
"""Keys of scorers that no score depends on: the place of the base, whose digest is in the featurizer's fingerprint, and
what only training reads. A later key of this kind belongs here, or rewards saved before it cannot be loaded."""


def reward_fingerprint(params: Params, config: TrainConfig, featurizer_fingerprint: str) -> str:
    """Digest of parameters, scorer, limit of shots and featurizer.

    Users do not depend on the temperature, on factors of descriptions, nor on `NOT_IN_FINGERPRINT`.
    """
    record = {
        "scorer": {
            key: value
            for key, value in config_to_dict(config.scorer).items()
            if key not in NOT_IN_FINGERPRINT
        },
        "max_context": config.episodes.max_context,
        "featurizer": featurizer_fingerprint,
    }
    if isinstance(params, Mapping):
        params = {name: leaf for name, leaf in params.items() if name != DESCRIPTION}
    return tree_digest(params, record)


def write_reward(
    directory: str | Path,
    params: Params,
    config: TrainConfig,
    *,
    featurizer_fingerprint: str,
    validation: Mapping[str, float] | None = None,
    adapters: Params | None = None,
    fitted: Params | None = None,
    blocks: Mapping[str, tuple[int, str]] | None = None,
    write_parts: Callable[[Path, Params], Params] | None = None,
    temperature: float = 1.0,
) -> None:
    """Writes an exported reward directory: all of it or nothing. An existing reward is replaced.

    Args:
        directory: Where to write. Missing parent directories are created.
        params: Nested dicts of arrays, as `config.scorer` makes them.
        config: The resolved config.
        featurizer_fingerprint: As in `RewardMetadata`.
        validation: Metrics on meta-validation users.
        adapters: The adapters of the text encoder, or None.
        fitted: What was fitted for its blocks of features, or nothing.
        blocks: As in `RewardMetadata`.
        write_parts: Writes some of the parameters in another format, and returns the rest.
        temperature: As in `RewardMetadata`.

    Raises:
        CheckpointError: The path is not a reward, or cannot be written, for example because the disk is full. It is not
            changed then.
        ConfigError: A value of the config is not allowed, so the reward could not be read.
    """
    from fspo_jax import __version__

    check_config(config)
    directory = Path(directory)
    if (
        directory.exists()
        and not _is_reward(directory)
        and (not directory.is_dir() or any(directory.iterdir()))
    ):
        raise CheckpointError(f"{directory}: {describe_path(directory)}. Choose a new or an empty directory.")
    metadata = {
        "format_version": FORMAT_VERSION,
        "fspo_jax": __version__,
        "fingerprint": reward_fingerprint(params, config, featurizer_fingerprint),
        "featurizer_fingerprint": featurizer_fingerprint,
        "blocks": {name: list(record) for name, record in (blocks or {}).items()},
        "validation": dict(validation or {}),
        "temperature": temperature,
        "base": str(Path(base).resolve()) if (base := _base_of(config)) and Path(base).exists() else "",
        "config": config_to_dict(config),
    }
    try:
        make_directory(directory.parent)
        fresh = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        old = fresh.with_name(fresh.name + ".old")
        try:
            fresh.chmod(0o755)
            rest = dict(write_parts(fresh, params) if write_parts else params)
            if (community := rest.pop(COMMUNITY, None)) is not None:
                known = {name: np.asarray(leaf, order="C") for name, leaf in named_leaves(community).items()}
                write_synced(fresh / f"{COMMUNITY}.safetensors", to_safetensors(known))
            # Not `ascontiguousarray`, which adds an axis to scalars.
            tensors = {name: np.asarray(leaf, order="C") for name, leaf in named_leaves(rest).items()}
            write_synced(fresh / TENSORS, to_safetensors(tensors))
            for name, tree in ((ENCODER, adapters), (FITTED, fitted or None)):
                if tree is not None:
                    leaves = {name: np.asarray(leaf, order="C") for name, leaf in named_leaves(tree).items()}
                    write_synced(fresh / name, to_safetensors(leaves))
            write_synced(fresh / METADATA, json.dumps(metadata, indent=2).encode())
            if directory.exists():
                directory.rename(old)
            fresh.rename(directory)
        finally:
            if old.exists() and not directory.exists():  # interrupted between the two
                old.rename(directory)
            for rest_of_it in (fresh, old):
                shutil.rmtree(rest_of_it, ignore_errors=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory}: the reward was not saved: {error}.") from error


def read_reward(path: str | Path) -> tuple[Params, RewardMetadata]:
    """Reads an exported reward directory, or the exported reward of a run directory.

    Returns:
        Parameters as nested dicts of numpy arrays, and the metadata.

    Raises:
        CheckpointError: The path is not a checkpoint, has another format version, or is damaged.
    """
    directory, params, metadata = read_stored(path)
    check_fingerprint(directory, params, metadata)
    return params, metadata


def read_adapters(path: str | Path) -> Params | None:
    """Reads the encoder adapters of an exported reward or a run, or None. Raises the errors of `read_reward`."""
    file = _reward_directory(Path(path)) / ENCODER
    if not file.is_file():
        return None
    return _read_params(file)


def read_fitted(path: str | Path) -> Params:
    """Reads what was fitted for the features of an exported reward or a run. Raises the errors of `read_reward`."""
    file = _reward_directory(Path(path)) / FITTED
    return _read_params(file) if file.is_file() else {}


def read_stored(path: str | Path) -> tuple[Path, Params, RewardMetadata]:
    """Returns the directory, the parameters of the main file and the metadata of an exported reward.

    Raises:
        CheckpointError: As in `read_reward`.
    """
    directory = _reward_directory(Path(path))
    metadata = _read_metadata(directory)
    encoder = metadata.config.encoder
    if (encoder.adapter_rank or encoder.adapters) and not (directory / ENCODER).is_file():
        raise _half_deleted(directory, ENCODER)
    if metadata.config.fits_features and not (directory / FITTED).is_file():
        raise _half_deleted(directory, FITTED)
    params, community = _read_params(directory / TENSORS), directory / f"{COMMUNITY}.safetensors"
    if community.is_file():
        params[COMMUNITY] = _read_params(community, whole_numbers=True)
    return directory, params, metadata


def read_metadata(path: str | Path) -> RewardMetadata:
    """Reads the metadata of an exported reward or a run; raises the errors of `read_reward`."""
    return _read_metadata(_reward_directory(Path(path)))


def _read_metadata(directory: Path) -> RewardMetadata:
    path = directory / METADATA
    try:
        if path.stat().st_size > MOST_METADATA_BYTES:
            raise ValueError(f"it has more than {MOST_METADATA_BYTES:,} bytes")
        raw = json.loads(path.read_text(encoding="utf-8"))
        version = raw["format_version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, error) from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{directory}: has format version {version!r:.40}, but this fspo_jax reads version {FORMAT_VERSION}. "
            f"Train the reward again, or install fspo_jax {raw.get('fspo_jax', 'of that version')!s:.40}, "
            "which wrote it."
        )
    try:
        temperature = float(raw.get("temperature", 1.0))
        if not LEAST_TEMPERATURE <= temperature <= 1 / LEAST_TEMPERATURE:
            raise ValueError(f"temperature is {temperature}")
        return RewardMetadata(
            config=config_from_dict(raw["config"]),
            featurizer_fingerprint=_string(raw["featurizer_fingerprint"]),
            fingerprint=_string(raw["fingerprint"]),
            validation={_string(name): float(value) for name, value in raw["validation"].items()},
            temperature=temperature,
            base=_string(raw.get("base", "")),
            blocks={_string(name): _record(*value) for name, value in raw.get("blocks", {}).items()},
        )
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
        ConfigError,
    ) as error:
        raise _damaged(path, error) from None


def _record(width: Any, fingerprint: Any) -> tuple[int, str]:
    if not isinstance(width, int) or not 1 <= width <= MOST_COLUMNS:
        raise ValueError(f"{width!r:.40} is not a number of columns")
    return width, _string(fingerprint)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not a string")
    return value


def _base_of(config: TrainConfig) -> str:
    """The pretrained model under a reward, as its config names it; `""` if there is none."""
    return config.scorer.base if isinstance(config.scorer, LanguageModelConfig) else config.encoder.model


Found = TypeVar("Found")


def open_base(metadata: RewardMetadata, base: str | Path, open_place: Callable[[str], Found]) -> Found:
    """Opens the encoder or the base model of a reward at the first place where it is.

    Args:
        metadata: Of the reward; says where it was in training.
        base: Where it is now; `""` for where it was in training.
        open_place: Opens what is at a place.

    Raises:
        CheckpointError, EncoderError: That of the first place, if it is at none of them.
    """
    places = [str(base)] if base else [_base_of(metadata.config), metadata.base]
    errors: list[CheckpointError | EncoderError] = []
    for place in filter(None, places):
        try:
            return open_place(place)
        except (CheckpointError, EncoderError) as error:
            errors.append(error)
    if not errors:
        raise CheckpointError("the reward names no base model.")
    if not base and metadata.base and not Path(metadata.base).exists():
        raise type(errors[0])(
            f"{errors[0]} If it has moved, say where it is with base=... (--base)."
        ) from None
    raise errors[0]


def _read_params(path: Path, whole_numbers: bool = False) -> Params:
    """Reads parameters; raises `CheckpointError` unless all are finite floating-point numbers, or whole if allowed."""
    tensors, _ = read_tensors(path)
    for name, tensor in tensors.items():
        if whole_numbers and jnp.issubdtype(tensor.dtype, jnp.integer):
            continue
        if not jnp.issubdtype(tensor.dtype, jnp.floating) or not np.isfinite(tensor).all():
            raise _damaged(path, ValueError(f"{name} is not of finite numbers"))
    try:
        return nested(tensors)
    except ValueError as error:
        raise _damaged(path, error) from None


def check_fingerprint(directory: Path, params: Params, metadata: RewardMetadata) -> None:
    """Raises `CheckpointError` unless parameters and config are unchanged since they were saved."""
    if reward_fingerprint(params, metadata.config, metadata.featurizer_fingerprint) != metadata.fingerprint:
        raise CheckpointError(
            f"{directory}: parameters or config differ from what was saved: the files are damaged or were "
            "edited. Take another copy, or export the reward again."
        )


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: damaged ({error!r}). Take another copy, or export the reward again.")


def _half_deleted(directory: Path, missing: str) -> CheckpointError:
    return CheckpointError(
        f"{directory}: half of an exported reward: {missing} is missing. Take another copy, or export the reward again."
    )


def _lacks(directory: Path) -> str:
    """Returns the one of the two main files that a reward directory lacks, or `""` if it has both or is none."""
    tensors, metadata = directory / TENSORS, directory / METADATA
    if tensors.is_file():
        return "" if metadata.is_file() else METADATA
    try:
        return TENSORS if b'"featurizer_fingerprint"' in metadata.read_bytes()[:MOST_METADATA_BYTES] else ""
    except OSError:
        return ""


def _is_reward(path: Path) -> bool:
    return (path / TENSORS).is_file() and (path / METADATA).is_file()


def _reward_directory(path: Path) -> Path:
    path = find_reward(path)
    if _is_reward(path):
        return path
    if _is_reward(path / REWARD):
        return path / REWARD
    for directory in (path, path / REWARD):
        if missing := _lacks(directory):
            raise _half_deleted(directory, missing)
    if (path / CHECKPOINTS).is_dir():
        raise CheckpointError(
            f"{path}: a training run that has not finished, so it has no exported reward yet. Resume it "
            "(`fspo train --resume`, or `train(..., resume=True)`)."
        )
    raise CheckpointError(
        f"{path}: {describe_path(path)}, not a checkpoint. Give "
        f"{', '.join(reward_names())}, a run directory, or a directory with {TENSORS} and {METADATA}."
    )
