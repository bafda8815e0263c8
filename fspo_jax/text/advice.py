"""Keeps transformers from advising to install PyTorch, which this package does not need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

SWITCH = "TRANSFORMERS_NO_ADVISORY_WARNINGS"


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """Within this block an import of transformers says nothing. What the environment says is kept."""
    given = os.environ.get(SWITCH)
    os.environ[SWITCH] = given or "1"
    try:
        yield
    finally:
        if given is None:
            os.environ.pop(SWITCH, None)
        else:
            os.environ[SWITCH] = given
