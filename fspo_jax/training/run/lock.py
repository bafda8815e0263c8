"""One run directory, one process: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from fspo_jax.errors import CheckpointError
from fspo_jax.private_files import make_directory
from fspo_jax.processes import is_main, on_main

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = "lock"
"""Name of the file in the run directory, which holds the host and the process id of the holder."""


@contextlib.contextmanager
def locked(run: Path, *, make: bool) -> Iterator[None]:
    """Holds the lock of a run directory. Of several processes of one run the main one holds it.

    The operating system releases the lock when the process ends, however it ends. File systems without locks are used
    without one.

    Args:
        run: The run directory.
        make: Whether to make the directory. It is removed at the end if nothing else is in it. Otherwise a directory
            that does not exist has no lock.

    Raises:
        CheckpointError: Another process holds the lock. The message names it.
    """
    held: list[int] = []
    on_main(lambda: held.extend(_acquired(run, make)))
    try:
        yield
    finally:
        if is_main():
            with contextlib.suppress(OSError):
                (run / LOCK).unlink() if held else None
                run.rmdir() if make else None  # fails if the run has begun
            for file in held:
                os.close(file)


def _acquired(run: Path, make: bool) -> list[int]:
    """Returns the open file of the lock, or nothing where there are no locks."""
    try:
        if make:
            make_directory(run)
        while fcntl is not None:
            file = os.open(run / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, run / LOCK):
                    holder = {"host": socket.gethostname(), "process": os.getpid()}
                    os.ftruncate(file, 0)
                    os.write(file, json.dumps(holder).encode())
                    return [file]
            except BlockingIOError:
                message = f"{run}: is in use by {_holder(file)}. Wait until it ends, or stop it."
                os.close(file)
                raise CheckpointError(message) from None
            os.close(file)  # the holder before removed it in between
    except OSError:
        pass  # `open_run` says what is wrong with the directory
    return []


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: int) -> str:
    try:
        found = json.loads(os.pread(file, 1000, 0))
        return f"process {found['process']} on host {found['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
