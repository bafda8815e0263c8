"""What another model than the run's encoder makes of a response, as a block of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from fspo_jax.models.encoders.contract import Encoder


class OtherModel:
    """The embedding of the response by an encoder beside the run's: `D` columns.

    An encoder of which only the first layers are computed gives the mean hidden state of the last of them. Its rows are
    in the same folder of the cache as if it were the run's encoder.

    Args:
        name: Of the block.
        encoder: The other model.
    """

    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, name: str, encoder: Encoder):
        self.name, self.width, self.fingerprint = name, encoder.dimension, f"{encoder.fingerprint}-"
        self._encoder = encoder

    def values(self, texts: Sequence[str]) -> np.ndarray:
        return self._encoder.encode(texts) * self.width**0.5
