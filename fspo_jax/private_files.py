"""Makes directories, and files that only their owner can read: what people like can be guessed from them."""

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


def private_directory(path: str | Path) -> None:
    """Creates a directory and its missing parents with mode 0700, as `make_directory` does."""
    make_directory(path, 0o700)


def private_opener(name: str, flags: int) -> int:
    """The `opener` of `open` that creates files with mode 0600."""
    return os.open(name, flags, 0o600)
