"""Turns texts into embeddings: windows of tokens pass through a network of any family, and are pooled and averaged.

Source: Reimers and Gurevych (2019), Sentence-BERT, arXiv 1908.10084.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.adapters import adapters_shape, init_adapters, join_adapters, merge_adapters
from fspo_jax.models.encoders.contract import Network, Params
from fspo_jax.models.encoders.pooling import Pooling
from fspo_jax.models.encoders.window_tokenizer import WindowTokenizer
from fspo_jax.models.encoders.windows import small_shapes, token_batches
from fspo_jax.models.precision import in_float32

ENCODER_VERSION = 1
"""Part of the fingerprint. Raise it whenever embeddings of equal texts and weights change."""

_merge = jax.jit(merge_adapters, static_argnames="matrices")


class TextEncoder:
    """An `Encoder` with any network, made by `load_encoder`. Immutable, so threads may share it.

    Texts longer than the model's window are not cut: their tokens are divided into windows, and the embedding is the
    mean of the vectors of the windows, weighted by their number of tokens and then normalised as usual.

    Args:
        network: Sizes and layers of the network.
        pooling: Pools token vectors into one vector.
        max_tokens: Largest number of tokens of a window, with special tokens.
        params: Parameters of the network, with adapters merged.
        tokenizer: Turns texts into windows of tokens.
        fingerprint: Hash of all of these.
    """

    def __init__(
        self,
        network: Network,
        pooling: Pooling,
        max_tokens: int,
        params: Params,
        tokenizer: WindowTokenizer,
        fingerprint: str,
    ):
        self.network, self.pooling, self.max_tokens = network, pooling, max_tokens
        self.params: Params = jax.device_put(params)
        self.fingerprint = fingerprint
        self._tokenizer = tokenizer
        self._forward = jax.jit(forward_function(network, pooling), static_argnames="layers")

    @property
    def dimension(self) -> int:
        """Width of an embedding."""
        return self.network.width

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.network.layers

    def encode(self, texts: Sequence[str], layers: tuple[int, ...] = ()) -> np.ndarray:
        """Returns embeddings of texts. The empty text has one too: zeros if the tokenizer adds no special tokens to it.

        Args:
            texts: N texts.
            layers: Hidden layers to add to the embedding, from 1: the mean over tokens of their states, each scaled to
                length one.

        Returns:
            `float32 [N, D (1 + layers)]`: the embedding, then the hidden layers in the given order.

        Raises:
            EncoderError: The model has no such layer.
        """
        check_layers(self.layers, layers)
        windows: list[list[int]] = []
        owners: list[int] = []
        for owner, of_text in enumerate(self.windows(texts, self.max_tokens)):
            windows += of_text
            owners += [owner] * len(of_text)
        lengths = np.array([len(window) for window in windows], np.float32)
        pooled = self._pooled(windows, layers) * lengths[:, None]
        total = np.zeros((len(texts), pooled.shape[1]), np.float32)
        np.add.at(total, owners, pooled)
        total /= np.maximum(np.bincount(owners, lengths, len(texts)).astype(np.float32), 1)[:, None]
        return self.normalized(total)

    def warm_up(self, layers: tuple[int, ...] = ()) -> None:
        """Compiles the programs of small batches. Larger batches take longer to compute than to compile.

        Args:
            layers: As in `encode`.
        """
        for rows, length in small_shapes(self.max_tokens):
            ids, lengths = np.zeros((rows, length), np.int32), np.ones(rows, np.int32)
            jax.block_until_ready(self._forward(self.params, ids, lengths, layers=layers))

    def windows(self, texts: Sequence[str], length: int) -> list[list[list[int]]]:
        """Returns the token ids of each text, in windows of at most `length` tokens with special tokens around each."""
        return self._tokenizer.windows(texts, length)

    def forward(
        self, params: Params, ids: jax.Array, lengths: jax.Array, *, layers: tuple[int, ...] = ()
    ) -> jax.Array:
        """See `Encoder`."""
        matrices = self.network.matrices
        beside = {
            name: of_matrix["adapter"]
            for name, of_matrix in params.get("adapted", {}).items()
            if name in matrices
        }
        rank, adapted = adapters_shape(beside, matrices) if beside else (0, 0)
        return forward_function(self.network, self.pooling, rank, adapted)(
            params, ids, lengths, layers=layers
        )

    def normalized(self, vectors: Any) -> Any:
        """See `Encoder`."""
        return self.pooling.normalized(vectors, self.dimension)

    def init_adapters(self, key: jax.Array, rank: int, layers: int) -> dict[str, Any]:
        """See `Encoder`."""
        if not self.network.matrices:
            raise EncoderError(
                f"a {type(self.network).__name__} encoder has no adapters. Set 'encoder.adapter_rank' to 0, or take an "
                "encoder of another family."
            )
        if layers > self.layers:
            raise EncoderError(
                f"adapters of {layers} layers are not possible, because the encoder has {self.layers}."
            )
        return init_adapters(key, self.params, self.network.matrices, rank, layers)

    def join(self, params: Params, adapters: Params) -> Params:
        """See `Encoder`."""
        return join_adapters(params, adapters, self.network.matrices)

    def merge(self, params: Params, adapters: Params) -> Params:
        """See `Encoder`."""
        return merge_adapters(params, adapters, self.network.matrices)

    def adapted(self, adapters: Params) -> TextEncoder:
        """See `Encoder`. Other parameters in the tree are ignored."""
        own = {name: adapters[name] for name in self.network.matrices}
        digest = hashlib.sha256(self.fingerprint.encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(own):
            digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf, np.float32).tobytes())
        params = _merge(self.params, own, self.network.matrices)
        fingerprint = digest.hexdigest()[:16]
        return TextEncoder(self.network, self.pooling, self.max_tokens, params, self._tokenizer, fingerprint)

    def _pooled(self, windows: list[list[int]], layers: tuple[int, ...]) -> np.ndarray:
        """Returns pooled vectors of token windows, computed longest first in batches of one bucket each."""
        result = np.zeros((len(windows), self.dimension * (1 + len(layers))), np.float32)
        pending = []
        for taken, ids, lengths in token_batches(windows, self.max_tokens):
            pending.append((taken, self._forward(self.params, ids, lengths, layers=layers)))
            if len(pending) > 2:  # keep the device busy while the host prepares the next batch
                taken, pooled = pending.pop(0)
                result[taken] = np.asarray(pooled)[: len(taken)]
        for taken, pooled in pending:
            result[taken] = np.asarray(pooled)[: len(taken)]
        return result


def check_layers(layers: int, asked: Sequence[int]) -> None:
    """Raises `EncoderError` unless a model with `layers` layers has the layers `asked`."""
    for layer in asked:
        if not 1 <= layer <= layers:
            raise EncoderError(
                f"the encoder has no hidden layer {layer}. Its layers are numbered 1 to {layers}."
            )


@lru_cache
def forward_function(
    network: Network, pooling: Pooling, rank: int = 0, adapted: int = 0
) -> Callable[..., jax.Array]:
    """Returns `Encoder.forward` for parameters with adapters of this rank in the last `adapted` layers, or without."""
    graph, _ = nnx.split(nnx.eval_shape(lambda: network.module(rank, adapted, nnx.Rngs(0))))

    @in_float32
    def forward(params: Any, ids: jax.Array, lengths: jax.Array, *, layers: tuple[int, ...]) -> jax.Array:
        states, means = nnx.merge(graph, nnx.State(params))(ids, lengths)
        return jnp.concatenate(
            [pooling.pool(states, means, lengths), *(means[layer - 1] for layer in layers)], axis=1
        )

    return forward
