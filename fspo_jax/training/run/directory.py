"""The run directory: checks whether a run may start in it or be resumed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.checkpoints import METADATA, REWARD, tree_digest, write_json
from fspo_jax.config import TrainConfig, config_from_dict, config_to_dict
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.errors import CheckpointError, ConfigError, DataError, FspoError, did_you_mean_path
from fspo_jax.private_files import make_directory
from fspo_jax.processes import is_main
from fspo_jax.training.run.lock import LOCK

CONFIG, DATA, REJECTS = "config.json", "data.json", "rejects"

RUN_VERSION = 2
"""Version of the layout of a run directory. Runs of 0.1.0 have no version."""


def open_run(run: Path, config: TrainConfig, *, resume: bool) -> None:
    """Makes a run directory with its `config.json`, or checks that `config` may resume its run.

    Raises:
        CheckpointError: Without `resume`, the directory is not empty. With `resume`, it has no run, or the run has a
            different config (the message names the keys) or an older version.
    """
    plain = config_to_dict(config)
    try:
        if not resume:
            if run.exists() and not _is_free(run):
                raise CheckpointError(
                    f"{run}: already exists and is not empty. Resume the run in it (resume=True, `--resume`), or name "
                    "another directory."
                )
            make_directory(run)
            (run / DATA).unlink(missing_ok=True)
            write_json(run / CONFIG, {"format_version": RUN_VERSION, "config": plain})
            return
        if not has_begun(run):
            raise CheckpointError(
                f"{run}: no run to resume or to finish: it has no {CONFIG}.{did_you_mean_path(run)} Name the directory "
                "of a run, or start one: leave out resume (`--resume`) and finish (`--finish`)."
            )
        stored = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{run}: cannot be used as a run directory: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{run / CONFIG}: damaged ({error}). Start another run.") from None
    if not isinstance(stored, Mapping) or stored.get("format_version") != RUN_VERSION:
        raise CheckpointError(
            f"{run}: this run was made by an older version of fspo_jax and cannot be resumed. Train again in another "
            "directory, or use version 0.1.0."
        )
    found = list(differences(stored.get("config"), plain))
    if found:
        listed = ", ".join(f"{key} (was {before!r}, now {now!r})" for key, before, now in found)
        longer = (
            " To train longer, start another run (another --output) with more steps: the learning rate decays over all "
            "steps, so it has nearly reached zero at the end of this one."
        )
        raise CheckpointError(
            f"{run}: was started with a different config; give the original, or start another run. Different: "
            f"{listed}.{longer if 'steps' in {key for key, _, _ in found} else ''}"
        )


def check_data(run: Path, train: EpisodeTable, validation: EpisodeTable, features: int) -> None:
    """Writes `data.json` with counts and a digest of the users, or compares them with an existing one.

    Raises:
        CheckpointError: The run was started with other users or pairs, or with features of another width.
        DataError: No meta-training user has two pairs.
    """
    if max(train.counts) < 2:
        raise DataError(
            "no meta-training user has 2 pairs, so no episode has a query. Give users more pairs."
        )
    facts: dict[str, Any] = {"features": features}
    for name, table in (("train", train), ("validation", validation)):
        facts |= {f"{name}_users": len(table.counts), f"{name}_pairs": len(table.pairs)}
    arrays = [[np.asarray(leaf) for leaf in table] for table in (train, validation)]
    facts["digest"] = tree_digest(arrays)
    path = run / DATA
    try:
        if not path.exists():
            write_json(path, facts)
            return
        stored = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be used: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: damaged ({error}), so it cannot be checked that the data are still those of the run. Remove the "
            "file to go on with the data as they are now, or start another run."
        ) from None
    if stored != facts:
        was = ", ".join(f"{key} {before} (now {now})" for key, before, now in differences(stored, facts))
        raise CheckpointError(
            f"{run}: the data have changed since the run began: {was}. Restore the data, or start another run."
        )


@contextlib.contextmanager
def removed_if_nothing_began(run: Path) -> Iterator[None]:
    """Removes the files of a run that fails before its first checkpoint, except rejects, which may say why."""
    try:
        yield
    except FspoError:
        if is_main() and _is_free(run):
            for name in (CONFIG, DATA):
                (run / name).unlink(missing_ok=True)
        raise


def has_begun(run: Path) -> bool:
    """Whether the run has its config, which is written first."""
    return (run / CONFIG).is_file()


def is_finished(run: Path) -> bool:
    """Whether the run has its exported reward, which is written last."""
    return (run / REWARD / METADATA).is_file()


def _is_free(run: Path) -> bool:
    """Whether a run may start here: an empty directory, or a run that failed before its first step."""
    if not run.is_dir():
        return False
    unfinished = f".{CONFIG}."  # prefix of the temporary files of `write_json`
    names = {entry.name for entry in run.iterdir() if not entry.name.startswith(unfinished)} - {LOCK}
    if not names:
        return True
    try:
        config_from_dict(json.loads((run / CONFIG).read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return False
    return names <= {CONFIG, DATA, REJECTS}


def differences(before: Any, now: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted key, old and new value of everything that differs between two JSON values."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = (dict(enumerate(value)) for value in (before, now))
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = list(dict.fromkeys([*before, *now]))
        return [
            row
            for key in keys
            for row in differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [] if before == now else [(path, before, now)]
