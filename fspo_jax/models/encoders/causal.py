"""Language models as encoders: the hidden states of a decoder that reads a text from left to right."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.errors import CheckpointError, EncoderError
from fspo_jax.models.encoders.layer_stacks import token_mask
from fspo_jax.models.language.decoder.architecture import Architecture, read_architecture
from fspo_jax.models.language.decoder.files import load_decoder
from fspo_jax.models.language.decoder.network import Decoder, decoder_shapes
from fspo_jax.types import TokenLayout


@dataclass(frozen=True)
class Causal:
    """The first layers of a decoder; see `Network`. It has no adapters.

    Attributes:
        architecture: Of the whole decoder.
        layers: Number of layers that are computed. The states of the last layer of the decoder are normalised.
        config: SHA-256 of the `config.json`.
    """

    architecture: Architecture = field(repr=False)
    layers: int
    config: str

    @property
    def vocabulary(self) -> int:
        """See `Network`."""
        return self.architecture.vocabulary

    @property
    def width(self) -> int:
        """See `Network`."""
        return self.architecture.width

    @property
    def positions(self) -> int:
        """See `Network`."""
        return self.architecture.positions

    @property
    def matrices(self) -> tuple[str, ...]:
        """See `Network`."""
        return ()

    @classmethod
    def of_directory(cls, directory: Path) -> Causal:
        """Reads the architecture of a checkpoint; raises `EncoderError` if it is not supported."""
        try:
            architecture = read_architecture(directory)
        except CheckpointError as error:
            raise EncoderError(str(error)) from None
        digest = hashlib.sha256((directory / "config.json").read_bytes()).hexdigest()
        return cls(architecture, architecture.layers, digest)

    def read(self, directory: Path) -> dict[str, Any]:
        """See `Network`."""
        try:
            params = load_decoder(
                directory, self.architecture, decoder_shapes(self.architecture), dtype=np.float32
            )
        except CheckpointError as error:
            raise EncoderError(str(error)) from None
        return {"decoder": params}

    def module(self, rank: int, adapted: int, rngs: nnx.Rngs) -> CausalModule:
        """See `Network`."""
        return CausalModule(self, rngs)


class CausalModule(nnx.Module):
    """The decoder without its output matrix."""

    def __init__(self, network: Causal, rngs: nnx.Rngs):
        self.count = network.layers
        self.decoder = Decoder(replace(network.architecture, tied=True), 0, rngs)

    def __call__(self, ids: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Network.module`."""
        mask = token_mask(lengths, ids.shape[1])
        count = jnp.maximum(lengths, 1)[:, None]
        ones = mask.astype(jnp.int32)
        layout = TokenLayout(jnp.arange(ids.shape[1]) * ones, ones, 0 * ones, 0 * ones)
        return self.decoder.each_layer(
            ids, layout, self.count, lambda x: jnp.where(mask[..., None], x, 0.0).sum(1) / count
        )
