"""The contracts of encoders, which the package uses, and of networks, which each family implements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

Params = Mapping[str, Any]
"""Nested dicts of arrays."""


class Network(Protocol):
    """The network of a model: its sizes, its layers, and how its weights are read. One file per family implements it.

    It is a frozen dataclass, because equal networks share programs, and its `repr` is part of the encoder's
    fingerprint. It reads tokens: tokenizers, windows, pooling and files are the same for all families.

    Attributes:
        vocabulary: V, number of tokens that the network knows.
        width: D, width of a token's vector.
        layers: L, number of layers to compute. It is a field, which `load_encoder` replaces to compute fewer.
        positions: Largest number of tokens of an input, with special tokens.
        matrices: Names of the matrices of a layer that can have low-rank adapters.
    """

    @property
    def vocabulary(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def layers(self) -> int: ...

    @property
    def positions(self) -> int: ...

    @property
    def matrices(self) -> tuple[str, ...]: ...

    def read(self, directory: Path) -> dict[str, Any]:
        """Reads the parameters of `module` from the files of a checkpoint, with stacked layers under a key `layers`.

        Raises:
            EncoderError: Files are missing or damaged; or tensors are missing, unexpected or of another shape.
        """
        ...

    def module(self, rank: int, adapted: int, rngs: nnx.Rngs) -> nnx.Module:
        """Makes the Flax module. The last `adapted` layers have adapters of this rank (see `layer_stacks`).

        Its call maps `ids int32 [B, T]` and `lengths int32 [B]` to the last layer's states `[B, T, D]` and every
        layer's mean over tokens `[L, B, D]`.
        """
        ...


class Encoder(Protocol):
    """Turns texts into vectors. Immutable, so threads may share it. `TextEncoder` implements it for every `Network`.

    Attributes:
        dimension: D, width of an embedding.
        layers: Number of layers.
        max_tokens: Largest number of tokens of a window, with special tokens.
        fingerprint: Changes whenever the embeddings change.
        params: Parameters of the network, with the adapters merged.
    """

    @property
    def dimension(self) -> int: ...

    @property
    def layers(self) -> int: ...

    @property
    def max_tokens(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def params(self) -> Params: ...

    def encode(self, texts: Sequence[str], layers: tuple[int, ...] = ()) -> np.ndarray:
        """Returns embeddings of texts, followed by mean hidden states of some layers: `float32 [N, D (1 + layers)]`."""
        ...

    def warm_up(self, layers: tuple[int, ...] = ()) -> None:
        """Compiles the programs of small batches."""
        ...

    def windows(self, texts: Sequence[str], length: int) -> list[list[list[int]]]:
        """Returns the token ids of each text, divided into windows of at most `length` tokens."""
        ...

    def forward(
        self, params: Params, ids: jax.Array, lengths: jax.Array, *, layers: tuple[int, ...] = ()
    ) -> jax.Array:
        """Returns pooled vectors of token windows, `[B, D (1 + layers)]`, not normalised. Pure.

        Args:
            params: Like `self.params`, or the result of `join`, which contains adapters.
            ids: `int32 [B, T]`, token ids. Ids after the length of a row are ignored.
            lengths: `int32 [B]`, number of tokens of each row.
            layers: Numbers of hidden layers to add to the embedding, from 1.
        """
        ...

    def normalized(self, vectors: Any) -> Any:
        """Scales pooled vectors as `encode` does, in numpy or under `jax.jit`."""
        ...

    def init_adapters(self, key: jax.Array, rank: int, layers: int) -> dict[str, Any]:
        """Makes low-rank adapters of the last `layers` layers that do not change the network.

        Raises:
            EncoderError: The network has no adapters, or fewer layers.
        """
        ...

    def join(self, params: Params, adapters: Params) -> Params:
        """Returns parameters that contain the adapters, for training. Pure."""
        ...

    def merge(self, params: Params, adapters: Params) -> Params:
        """Returns parameters with the adapters added to the matrices, for serving. Pure."""
        ...

    def adapted(self, adapters: Params) -> Encoder:
        """Returns the encoder with the adapters merged, which has its own fingerprint."""
        ...
