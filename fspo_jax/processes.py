"""Runs with several processes, one per host: what only the main process does, and what all must agree on.

With one process these functions cost nothing.
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
    """Joins this process to the other processes of a run. Call it before any other function of JAX.

    Slurm, Open MPI, Kubernetes and TPU pods are recognised. Elsewhere, set the environment variables
    JAX_COORDINATOR_ADDRESS (`host:port` of the first process), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Raises:
        ConfigError: The environment does not say which process this is, or the others cannot be reached.
    """
    numbers = [os.environ.get(name) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")]
    try:
        count, own = (int(number) if number else None for number in numbers)
        jax.distributed.initialize(num_processes=count, process_id=own)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"this process cannot join the others of the run: {error}. Start it with srun or mpirun, or set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID."
        ) from None


def is_main() -> bool:
    """Whether this is the main process, the one that writes files."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process. Every process must call this at the same point."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def on_main(action: Callable[[], object]) -> None:
    """Runs `action` on the main process while the others wait.

    Raises:
        TrainingError: The action failed; raised on the other processes. The main process raises the original error.
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
        raise TrainingError("the main process failed. Its output says why.")


def to_host(tree: Any) -> Any:
    """Returns a tree of arrays as whole numpy arrays, on every process, wherever their parts are."""

    def whole(leaf: Any) -> np.ndarray:
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            from jax.experimental import multihost_utils

            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
        return np.array(leaf)

    return jax.tree.map(whole, tree)
