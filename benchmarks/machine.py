"""Where and on what a benchmark ran."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Any

import jax


def provenance() -> dict[str, Any]:
    """Commit (with `+` when the tree has changes), machine and versions."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit or "unknown",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
    }
