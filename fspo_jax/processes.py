"""Several processes of one run, one a host: what only the main one does, and what all must agree on.

With one process everything here is free.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from fspo_jax.errors import ConfigError, TrainingError

Tree = TypeVar("Tree")


def join() -> None:
    """Makes this process one of several of a run; before anything else of JAX.

    Slurm, Open MPI, Kubernetes and TPU pods are recognised. Elsewhere the variables JAX_COORDINATOR_ADDRESS
    (`host:port` of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID say who is who.

    Raises:
        ConfigError: Neither says it, or the others cannot be reached.
    """
    numbers = [os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")]
    try:
        count, own = (int(number) if number else None for number in numbers)
        jax.distributed.initialize(num_processes=count, process_id=own)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"this process cannot join a run of several: {error}. Start it with srun or mpirun, or set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID."
        ) from None


def is_main() -> bool:
    """Whether this process writes files."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process; every process must call this."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def on_main(action: Callable[[], object]) -> None:
    """Runs `action` on the main process while the others wait.

    Raises:
        TrainingError: On the other processes, where the action failed; the main one raises its own error.
    """
    failure: Exception | None = None
    if is_main():
        try:
            action()
        except Exception as error:
            failure = error
    failed = any_process(failure is not None)
    if failure is not None:
        raise failure
    if failed:
        raise TrainingError("the main process failed; its output says why.")


def to_host(tree: Any) -> Any:
    """A tree of arrays as whole numpy arrays on every process, however they are divided."""

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            from jax.experimental import multihost_utils

            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
        return np.array(leaf)

    return jax.tree.map(whole, tree)
