"""Keys that a config had in an older version, and what stands for them now."""

from __future__ import annotations

import re

REMOVED = {
    "episodes.cohort": "It now follows from the 'cohort' of the sources: delete this key.",
    "encoder.recipe": "Features are now blocks of '[[features]]'; they read the response alone. Delete this key.",
    "encoder.hidden_layer": "Give '[[features]]' tables instead, one with kind = \"hidden_layer\" and its 'layer'.",
    "encoder.style": "Give '[[features]]' tables instead, with or without one of kind = \"style\".",
    "encoder.approval": "Give '[[features]]' tables instead, one with kind = \"approval\".",
    "scorer.approval": "The scorer reads the block of kind = \"approval\" in '[[features]]': delete this key.",
    "scorer.encoder_blocks": "It now follows from '[[features]]': delete this key.",
    "methods.model.approval": "A transfer_gp reads the approval of its adapters where they have one: delete this key.",
    "methods.model.encoder_blocks": "It now follows from '[[features]]': delete this key.",
}
"""Dotted key, numbers of list entries left out, to what its user should do."""


def removed_key(path: str) -> str:
    """What to do about a key that an older version knew, or '' for any other.

    Args:
        path: Dotted key such as `data.sources.0.cohort`.
    """
    return REMOVED.get(re.sub(r"\.\d+(?=\.|$)", "", path), "")
