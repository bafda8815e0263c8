"""The directory of the disk cache."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

from fspo_jax.private_files import private_directory


def cache_directory(configured: str | Path = "") -> Path | None:
    """Returns the configured directory, else `$FSPO_CACHE`, else `~/.cache/fspo_jax`.

    Returns:
        The directory; None with a warning if nothing is configured and the home directory cannot be written.
    """
    if given := configured or os.environ.get("FSPO_CACHE"):
        return Path(given)
    try:
        directory = Path.home() / ".cache" / "fspo_jax"
        private_directory(directory)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        warnings.warn(
            f"nothing is cached on disk, because the home directory cannot be used ({error}). Set the variable "
            "FSPO_CACHE to a directory that can be written.",
            stacklevel=1,
        )
        return None
