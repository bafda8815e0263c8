"""What the rest of the package needs of an encoder, and what the file of a family of networks provides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

Params = Mapping[str, Any]
"""Nested dicts of arrays."""


class Network(Protocol):
    """The network of one model: its sizes, its layers and where its weights come from. One file a family implements it.

    It is a frozen dataclass, because programs are shared between equal networks and its `repr` is part of the encoder's
    fingerprint. It knows tokens only: tokenizers, windows, pooling and files are the same for all families.

    Attributes:
        width: D, width of a token's vector.
        layers: L, number of layers.
        positions: Longest input in tokens, special tokens included.
        special_tokens: The tokenizer's names of the tokens before and behind every window.
        matrices: Names of a layer's matrices that may have low-rank adapters; empty if none may.
    """

    @property
    def width(self) -> int: ...

    @property
    def layers(self) -> int: ...

    @property
    def positions(self) -> int: ...

    @property
    def special_tokens(self) -> tuple[str, str]: ...

    @property
    def matrices(self) -> tuple[str, ...]: ...

    def convert(self, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Turns the tensors of a checkpoint into the parameters of `module`; those of its layers are stacked.

        Raises:
            EncoderError: Tensors are missing, unexpected or of another shape.
        """
        ...

    def module(self, rank: int, adapted: int, rngs: nnx.Rngs) -> nnx.Module:
        """The Flax module; the last `adapted` layers have adapters of this rank (see `layer_stacks`).

        Its call maps `ids int32 [B, T]` and `lengths int32 [B]` to the last layer's states `[B, T, D]` and every
        layer's mean over tokens `[L, B, D]`.
        """
        ...


class Encoder(Protocol):
    """Texts to vectors. Immutable; threads may share it. `TextEncoder` is one, for every `Network`.

    Attributes:
        dimension: D, width of an embedding.
        layers: Number of layers.
        max_tokens: Longest window in tokens, special tokens included.
        fingerprint: Changes whenever the embedding of an equal text changes.
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
        """Embeddings of texts, and mean hidden states of some layers beside them: `float32 [N, D (1 + layers)]`."""
        ...

    def warm_up(self, layers: tuple[int, ...] = ()) -> None:
        """Compiles the programs of small batches."""
        ...

    def windows(self, texts: Sequence[str], length: int) -> list[list[list[int]]]:
        """Token ids of each text, cut into windows of at most `length` tokens."""
        ...

    def forward(
        self, params: Params, ids: jax.Array, lengths: jax.Array, *, layers: tuple[int, ...] = ()
    ) -> jax.Array:
        """Pooled vectors of token windows, `[B, D (1 + layers)]`; pure, not normalised.

        Args:
            params: As `self.params`; or the result of `join`, with adapters beside the matrices.
            ids: `int32 [B, T]`, token ids; behind a row's length anything.
            lengths: `int32 [B]`, tokens of each row.
            layers: Hidden layers beside the embedding, from 1.
        """
        ...

    def normalized(self, vectors: Any) -> Any:
        """Pooled vectors scaled as `encode` returns them; in numpy or under `jax.jit`."""
        ...

    def init_adapters(self, key: jax.Array, rank: int, layers: int) -> dict[str, Any]:
        """Low-rank adapters of the last `layers` layers that change nothing yet.

        Raises:
            EncoderError: The network has no adapters, or fewer layers.
        """
        ...

    def join(self, params: Params, adapters: Params) -> Params:
        """Parameters with adapters beside the matrices, for training; pure."""
        ...

    def merge(self, params: Params, adapters: Params) -> Params:
        """Parameters with adapters added to the matrices, for serving; pure."""
        ...

    def adapted(self, adapters: Params) -> Encoder:
        """The encoder with adapters merged, under a fingerprint of its own."""
        ...
