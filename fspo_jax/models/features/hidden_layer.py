"""The mean hidden state of an encoder layer as a block of features."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class HiddenLayer:
    """The mean over tokens of the hidden states of one layer: `D` columns."""

    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, dimension: int, layer: int):
        self.name = self.fingerprint = f"hidden_layer_{layer}"
        self.width, self.layer = dimension, layer

    def init(self) -> None:
        return None

    def values(self, vectors: Any, params: Any) -> Any:
        return vectors
