"""The directory of the disk cache."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory(configured: str = "") -> Path:
    """Returns the configured directory, else `$FSPO_CACHE`, else `~/.cache/fspo_jax`."""
    return Path(configured or os.environ.get("FSPO_CACHE") or Path.home() / ".cache" / "fspo_jax")
