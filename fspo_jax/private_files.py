"""Makes directories, says why nothing can be written, and makes files that only their owner can read.

What people like can be guessed from such files.
"""

from __future__ import annotations

import os
from pathlib import Path


def make_directory(path: str | Path, mode: int = 0o777) -> None:
    """Creates a directory and its missing parents, however deep. Those that exist keep their mode.

    Raises:
        OSError: The directory cannot be created.
    """
    path = Path(path)
    try:
        for parent in (*reversed(path.parents), path):
            if not parent.exists():
                parent.mkdir(mode=mode, exist_ok=True)
    except ValueError as error:  # a NUL in the name
        raise OSError(f"{str(path)!r} cannot be a path: {error}") from None
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a directory")


def why_not_written(path: str | Path) -> str:
    """Why no file or directory can be made at a path, whose parents are made if they are missing; "" if one can."""
    there = next(folder for folder in Path(path).absolute().parents if os.path.exists(folder))
    if not there.is_dir():
        return f"{there} is not a directory"
    return "" if os.access(there, os.W_OK | os.X_OK) else f"you may not write in {there}"


def private_directory(path: str | Path) -> None:
    """Creates a directory and its missing parents with mode 0700, as `make_directory` does."""
    make_directory(path, 0o700)


def private_opener(name: str, flags: int) -> int:
    """The `opener` of `open` that creates files with mode 0600."""
    return os.open(name, flags, 0o600)
