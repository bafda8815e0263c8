"""The encoder's embedding as a block of features."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class Sentence:
    """The embedding of the response: `D` columns."""

    name, fingerprint, layer = "sentence", "sentence", 0
    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, dimension: int):
        self.width = dimension

    def init(self) -> None:
        return None

    def values(self, vectors: Any, params: Any) -> Any:
        return vectors
