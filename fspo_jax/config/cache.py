"""Where fspo keeps on disk what it would otherwise compute again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory(configured: str = "") -> Path:
    """The directory of the cache: the configured one, else `$FSPO_CACHE`, else `~/.cache/fspo_jax`."""
    return Path(configured or os.environ.get("FSPO_CACHE") or Path.home() / ".cache" / "fspo_jax")
