"""A block that a reward was loaded without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fspo_jax.models.features.contract import Items


class BlockRecord(NamedTuple):
    """What a reward notes of a block, so that it can be loaded without it.

    Attributes:
        width: Number of its columns before anything was fitted.
        fingerprint: Of the block in training.
    """

    width: int
    fingerprint: str


class Absent:
    """Zeros in the place of a block. They are not cached.

    Args:
        name: Of the block.
        record: What the reward notes of it.
    """

    columns: Mapping[str, str] = MappingProxyType({})
    reads_encoder = False

    def __init__(self, name: str, record: BlockRecord):
        self.name, self.width, self.fingerprint = name, record.width, record.fingerprint


class AbsentText(Absent):
    """In the place of a `TextBlock`."""

    def values(self, texts: Sequence[str]) -> np.ndarray:
        return np.zeros((len(texts), self.width), np.float32)


class AbsentItem(Absent):
    """In the place of an `ItemBlock`."""

    def values(self, items: Items) -> np.ndarray:
        return np.zeros((len(items.responses), self.width), np.float32)
