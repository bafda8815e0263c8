"""Fixtures that several test files share."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with development data, FSPO_SHARED or `shared` beside the repository; skips without it."""
    root = Path(os.environ.get("FSPO_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "data" / "real").is_dir():
        pytest.skip(f"no development data in {root}: set FSPO_SHARED to the folder that holds data/real")
    return root


@pytest.fixture
def small_disk() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """`with small_disk(n)`: no file of this process can grow beyond n bytes, as on a full disk.

    Not for a whole test: pytest itself writes between the phases of a test, perhaps into a file.
    """

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
