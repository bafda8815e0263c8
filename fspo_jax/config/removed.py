"""Keys that a config had in an older version, and what stands for them now."""

from __future__ import annotations

import re

REMOVED = {
    "episodes.cohort": "It now follows from the 'cohort' of the sources: delete this key.",
}
"""Dotted key, numbers of list entries left out, to what its user should do."""


def removed_key(path: str) -> str:
    """What to do about a key that an older version knew, or '' for any other.

    Args:
        path: Dotted key such as `data.sources.0.cohort`.
    """
    return REMOVED.get(re.sub(r"\.\d+(?=\.|$)", "", path), "")
