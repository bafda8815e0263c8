"""How much people in general approve of a response: one number, linear in the embedding."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

APPROVAL = "approval"


class Approval:
    """The product of the embedding with trained weights `[D]`: one column, zero without adapters."""

    name, fingerprint, layer, width = APPROVAL, APPROVAL, 0, 1
    columns: Mapping[str, str] = MappingProxyType({APPROVAL: "responses that most people like"})

    def __init__(self, dimension: int):
        self._dimension = dimension

    def init(self) -> jax.Array:
        return jnp.zeros(self._dimension)

    def values(self, vectors: Any, params: Any) -> Any:
        return vectors[:, :1] * 0.0 if params is None else vectors @ params[:, None]
