"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with development data, FSPO_SHARED or `shared` beside the repository; skips without it."""
    root = Path(os.environ.get("FSPO_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "data" / "real").is_dir():
        pytest.skip(f"no development data in {root}: set FSPO_SHARED to the folder that holds data/real")
    return root
