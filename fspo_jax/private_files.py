"""Files and directories that only their owner can read: what people like can be guessed from them."""

from __future__ import annotations

import os
from pathlib import Path


def private_directory(path: str | Path) -> None:
    """Creates a directory and its missing parents with mode 0700. Those that exist keep their mode.

    Raises:
        OSError, ValueError: The directory cannot be created.
    """
    path = Path(path)
    for parent in (*reversed(path.parents), path):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a directory")


def private_opener(name: str, flags: int) -> int:
    """The `opener` of `open` that creates files with mode 0600."""
    return os.open(name, flags, 0o600)
