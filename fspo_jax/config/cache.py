"""The directory of the disk cache, and its largest size."""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from pathlib import Path

from fspo_jax.errors import ConfigError
from fspo_jax.private_files import private_directory

CACHE_GB = 20.0


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


def cache_bytes() -> int | None:
    """Returns the largest size of what is computed from texts and kept on disk, in bytes; None for no bound.

    It is `$FSPO_CACHE_GB` times 10^9, or else 20 GB. Unpacked models are not counted.

    Raises:
        ConfigError: The variable is not a number of at least 0.
    """
    given = os.environ.get("FSPO_CACHE_GB") or str(CACHE_GB)
    try:
        size = float(given)
    except ValueError:
        size = math.nan
    if not size >= 0:
        raise ConfigError(
            f"the variable FSPO_CACHE_GB is {given!r}. Set it to the largest size of the cache on disk in GB, such as "
            f"{CACHE_GB:g}, or to inf."
        )
    return None if math.isinf(size) else int(size * 10**9)
