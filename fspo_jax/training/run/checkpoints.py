"""Checkpoints of a training run: the latest two and the best one, written in the background, each with a digest.

    <run>/checkpoints/<step>        written by Orbax
    <run>/damaged/<step>            damaged checkpoints, set aside

Orbax writes into a temporary directory and renames it, so a killed run leaves no checkpoint that only looks complete.
A file that is lost, cut or changed later is found by the digest: the checkpoint is set aside with a
`CheckpointWarning`, and the one before it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from fspo_jax.errors import CheckpointError
from fspo_jax.processes import any_process, is_main
from fspo_jax.training.state import TrainState

LATEST, BEST = 2, 1
"""Number of checkpoints to keep: the newest, and the best on meta-validation users."""

SELECTION = "log_loss"
"""The validation metric that compares checkpoints; smaller is better."""


METRICS = "metrics/metrics"
"""File in a checkpoint where Orbax keeps the validation metrics; a checkpoint without an evaluation has none."""


class Best(NamedTuple):
    """The best evaluation of a run so far.

    Attributes:
        step: After which it was made.
        loss: Its `SELECTION` metric.
    """

    step: int
    loss: float


def _quiet_event_loops() -> None:
    """Silences threads of Orbax that call back into an event loop which a failed read or write has closed.

    They may do so long after the failure, which has become one error or warning here. So this stays for the process.
    """
    before = sys.unraisablehook
    if getattr(before, "__name__", "") == "show_unless_closed":
        return

    def show_unless_closed(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = show_unless_closed


def _not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


RECORD = ("config", "validation", "best")
"""What stands beside the state in a checkpoint."""


class CheckpointWarning(UserWarning):
    """A checkpoint is damaged; the one before it is used."""


class RunCheckpoints:
    """Writes and reads the checkpoints of one run. Use as a context manager, from the main thread.

    Args:
        directory: `<run>/checkpoints`; made when it is not there.
        config: The resolved config as plain JSON, stored in every checkpoint.
        like: A state with the shapes and types of this run, divided as it is.

    Attributes:
        newest: The state to go on from, or None.
        newest_path: Its checkpoint.
        best_so_far: The best evaluation up to the newest checkpoint, or None. It is stored in every checkpoint, so a
            resumed run knows it.

    Raises:
        CheckpointError: The directory cannot be made.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], like: TrainState):
        self._directory, self._config = directory.absolute(), dict(config)
        self._like = jax.tree.map(_like_of, like)
        self._pending: tuple[int, Any] | None = None
        self.newest: TrainState | None = None
        self.newest_path: Path | None = None
        self.best_so_far: Best | None = None
        _quiet_event_loops()
        # Orbax logs the tracebacks of all its threads, but each failure becomes one error or warning here.
        logging.getLogger("absl").addFilter(_not_of_orbax)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for step in sorted(
                int(entry.name) for entry in self._directory.iterdir() if entry.name.isdigit()
            ):
                state = self._read_or_set_aside(step)
                if state is not None:
                    self.newest, self.newest_path = state, self._directory / str(step)
                    best = self._metadata(step)["best"]
                    self.best_so_far = Best(**best) if best else None
        except OSError as error:
            logging.getLogger("absl").removeFilter(_not_of_orbax)
            raise CheckpointError(f"{self._directory}: cannot be used for checkpoints: {error}.") from error
        policies: Any = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            str(self._directory),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(LATEST),
                    policies.BestN(
                        get_metric_fn=lambda metrics: metrics[SELECTION],
                        reverse=True,  # Orbax keeps the end of the list
                        n=BEST,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> RunCheckpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            try:
                self._checkpointer.close()
            except Exception:  # `wait` reported a failed save, and any other error is already being raised
                if kind is None:
                    raise
            finally:
                logging.getLogger("absl").removeFilter(_not_of_orbax)

    def save(self, state: TrainState, validation: Mapping[str, float] | None) -> None:
        """Begins to write a checkpoint in the background, after the one before it is complete.

        Args:
            state: The state. It is copied to the host before this returns, so that it may be donated afterwards. If it
                is divided between processes, it is on disk when this returns.
            validation: Metrics on meta-validation users. None if there was no evaluation; then the checkpoint can be
                resumed from, but cannot be the best.

        Raises:
            CheckpointError: The save cannot begin, or the one before it failed.
        """
        self.wait()
        divided = any(map(_is_divided, jax.tree.leaves(state)))
        host = state if divided else jax.tree.map(np.array, state)
        step = int(host.step)
        if validation and (self.best_so_far is None or validation[SELECTION] < self.best_so_far.loss):
            self.best_so_far = Best(step, validation[SELECTION])
        record: dict[str, Any] = {
            "config": self._config,
            "validation": dict(validation) if validation else None,
            "best": self.best_so_far._asdict() if self.best_so_far else None,
        }
        try:
            response = self._checkpointer.save_checkpointables_async(
                step,
                {"state": host},
                force=True,
                metrics=record["validation"],
                custom_metadata={**record, "digest": state_digest(host, record)},
            )
        except Exception as error:  # Orbax and TensorStore raise many kinds
            raise self._not_saved(step, error) from error
        self._pending = step, response
        if divided:  # on a CPU Orbax reads the same buffers that the next step uses
            self.wait()

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
            CheckpointError: It failed, for example because the disk is full. Older checkpoints are intact.
        """
        if self._pending is None:
            return
        (step, response), self._pending = self._pending, None
        try:
            response.result()
        except Exception as error:
            raise self._not_saved(step, error) from error
        self.newest_path = self._directory / str(step)

    def best(self) -> tuple[TrainState, dict[str, float]]:
        """Returns the state with the smallest `SELECTION` metric, and its metrics.

        Raises:
            CheckpointError: No checkpoint with validation metrics can be read.
        """
        self.wait()
        kept: Any = self._checkpointer.checkpoints
        found = [
            (checkpoint.metrics[SELECTION], checkpoint.step) for checkpoint in kept if checkpoint.metrics
        ]
        for _, step in sorted(found):
            state = self._read_or_set_aside(step)
            if state is not None:
                return state, self._metadata(step)["validation"]
        raise CheckpointError(
            f"{self._directory}: no checkpoint with validation metrics can be read. Train again."
        )

    def _read_or_set_aside(self, step: int) -> TrainState | None:
        """Reads a checkpoint and checks its digest. A damaged one is moved to `<run>/damaged`."""
        path = self._directory / str(step)
        state, failure = None, None
        try:
            metadata = self._metadata(step)
            record = {name: metadata[name] for name in RECORD}
            state = ocp.load_checkpointables(str(path), {"state": self._like})["state"]
            # Orbax compares checkpoints by its own copy of the metrics.
            ranked = path / METRICS
            if record["validation"] and json.loads(ranked.read_bytes()) != record["validation"]:
                raise ValueError("the validation metrics were changed")
            if state_digest(state, record) != metadata["digest"]:
                raise ValueError("the digest is wrong")
        except Exception as error:  # damaged files raise errors of many types
            failure = error
        if not any_process(failure is not None):
            return state
        aside = self._directory.parent / "damaged" / str(step)
        if is_main():
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)
        any_process(False)  # all processes wait until it is moved
        reason = _reason(failure) if failure else "another process cannot read it"
        warnings.warn(
            f"{path} is damaged ({reason}) and was moved to {aside}. The checkpoint before it is used.",
            CheckpointWarning,
            stacklevel=4,
        )
        return None

    def _metadata(self, step: int) -> dict[str, Any]:
        found = ocp.checkpointables_metadata(str(self._directory / str(step))).custom_metadata
        if not isinstance(found, dict) or not {*RECORD, "digest"} <= found.keys():
            raise ValueError("its metadata is missing")
        return found

    def _not_saved(self, step: int, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"{self._directory / str(step)}: the checkpoint of step {step} was not saved: {_reason(error)}. "
            f"Last good checkpoint: {self.newest_path or 'none'}. Free some space, then resume."
        )


def was_evaluated(directory: Path) -> bool:
    """Whether `<run>/checkpoints` has a checkpoint with metrics on meta-validation users."""
    return any(path.parent.parent.name.isdigit() for path in directory.glob(f"*/{METRICS}"))


def _reason(error: Exception) -> str:
    return f"{(str(error).strip() or repr(error)).splitlines()[0]:.300}"


def state_digest(state: Any, record: Any) -> str:
    """Digest of the names, types, shapes and bits of all leaves, and of `record`, any JSON value.

    The bits of a leaf enter by two sums that are computed on the devices, one of them weighted by position, so that no
    process needs the whole leaf. The digest finds damage, but does not prevent forgery.
    """
    named = jax.tree_util.tree_leaves_with_path(state)
    sums = jax.device_get(_bit_sums([leaf for _, leaf in named]))
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for (path, leaf), (plain, weighted) in zip(named, sums, strict=True):
        name = jax.tree_util.keystr(path)
        digest.update(f"\n{name} {leaf.dtype} {leaf.shape} {int(plain)} {int(weighted)}".encode())
    return digest.hexdigest()


@jax.jit
def _bit_sums(leaves: list[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
    def of_leaf(leaf: jax.Array) -> tuple[jax.Array, jax.Array]:
        unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
        bits = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
        place = jnp.zeros(leaf.shape, jnp.uint32)
        for axis, size in enumerate(leaf.shape):
            place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
        return bits.sum(dtype=jnp.uint32), (bits * (place * jnp.uint32(2654435761) + 1)).sum(dtype=jnp.uint32)

    return [of_leaf(leaf) for leaf in leaves]


def _like_of(leaf: Any) -> Any:
    """The form in which Orbax restores a leaf: a host array, or an array with the sharding of `leaf`."""
    if _is_divided(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return np.zeros(leaf.shape, leaf.dtype)


def _is_divided(leaf: Any) -> bool:
    """Whether an array is divided over devices of several processes."""
    return isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
