"""Keys of older versions of a config, and what to use instead."""

from __future__ import annotations

import re

REMOVED = {
    "episodes.cohort": "It now follows from the 'cohort' of the sources. Delete this key.",
    "encoder.recipe": "Features are now blocks of '[[features]]'; they read the response alone. Delete this key.",
    "encoder.hidden_layer": "Give '[[features]]' tables instead, one with kind = \"hidden_layer\" and its 'layer'.",
    "encoder.style": "Give '[[features]]' tables instead, with or without one of kind = \"style\".",
    "encoder.approval": "Give '[[features]]' tables instead, one with kind = \"approval\".",
    "scorer.approval": "The scorer reads the block of kind = \"approval\" in '[[features]]'. Delete this key.",
    "scorer.encoder_blocks": "It now follows from '[[features]]'. Delete this key.",
    "methods.model.approval": "A three_level_gp reads the approval of its adapters, if they have it. Delete this key.",
    "methods.model.encoder_blocks": "It now follows from '[[features]]'. Delete this key.",
}
"""Dotted key, without numbers of list entries, to what to do."""


def removed_key(path: str) -> str:
    """Returns what to do about a key of an older version, or '' for any other key.

    Args:
        path: Dotted key such as `data.sources.0.cohort`.
    """
    return REMOVED.get(re.sub(r"\.\d+(?=\.|$)", "", path), "")
