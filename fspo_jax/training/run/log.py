"""Writes the metrics of a run: one JSON line per dispatch, and TensorBoard if `tensorboardX` is installed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fspo_jax.errors import CheckpointError
from fspo_jax.processes import is_main

FILE = "metrics.jsonl"

logger = logging.getLogger("fspo_jax")


class MetricsLog:
    """Appends to `<run>/metrics.jsonl` and `<run>/tensorboard/`. Use as a context manager.

    Args:
        run: The run directory.
        step: Number of steps done. Lines of later steps, and an incomplete last line, are removed, so that no step
            occurs twice.

    Only the main process writes.
    """

    def __init__(self, run: Path, step: int):
        self._path, self._file, self._board = run / FILE, None, None
        if not is_main():
            return
        try:
            if self._path.exists():
                keep_until(self._path, step)
            self._file = open(self._path, "a", encoding="utf-8")
        except OSError as error:
            raise CheckpointError(f"{self._path}: cannot be written: {error}.") from error
        self._board = _board(run / "tensorboard", step)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(
        self, step: int, metrics: Mapping[str, float], validation: Mapping[str, float] | None = None
    ) -> None:
        """Writes one line: `step`, `time` (Unix), the metrics, and `validation` after an evaluation.

        Raises:
            CheckpointError: The file cannot be written, for example because the disk is full.
        """
        if self._file is None:
            return
        row: dict[str, Any] = {"step": step, "time": round(time.time(), 3), **metrics}
        if validation:
            row["validation"] = dict(validation)
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise CheckpointError(
                f"{self._path}: cannot be written: {error}. Free some disk space, then resume."
            ) from error
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(f"train/{name}", value, step)
            for name, value in (validation or {}).items():
                self._board.add_scalar(f"validation/{name}", value, step)


def keep_until(path: Path, step: int) -> None:
    """Removes the lines of steps after `step`, and incomplete lines, from a metrics file."""
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    fresh = path.with_suffix(".fresh")
    fresh.write_text("".join(kept), encoding="utf-8")
    fresh.replace(path)


def _board(directory: Path, step: int) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        logger.warning("tensorboardX is not installed: metrics go to %s only.", FILE)
        return None
    return SummaryWriter(str(directory), purge_step=step + 1 if step else None)
