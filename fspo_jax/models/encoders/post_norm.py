"""Networks whose layers are normalised after attention and after the MLP: what BERT, RoBERTa and MPNet share.

A family is a subclass of `PostNorm` that says how its config is read and how its tensors are named.

Source: Vaswani et al. (2017), Attention Is All You Need, arXiv 1706.03762.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.files import check_shapes, read_tensors
from fspo_jax.models.encoders.layer_stacks import LayerStacks, Linear, token_mask
from fspo_jax.models.encoders.sizes import check_keys, whole_number

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": partial(nnx.gelu, approximate=False),
    "gelu_new": partial(nnx.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(nnx.gelu, approximate=True),
    "relu": nnx.relu,
    "silu": nnx.silu,
    "swish": nnx.silu,
    "tanh": nnx.tanh,
}
"""By the names of transformers."""

HEADS = ("pooler.", "cls.", "lm_head.", "classifier.", "qa_outputs.", "embeddings.position_ids")
"""Prefixes of tensors that embeddings do not need."""

DISTANCE_BUCKETS, FARTHEST = 32, 128
"""Number of buckets of relative positions, and the distance from which on all share the last bucket of their side."""


@dataclass(frozen=True)
class PostNorm:
    """Sizes of a network; see `Network`.

    Attributes:
        types: Number of token types; 0 for none. All tokens have type 0.
        positions: Largest number of tokens of an input.
        epsilon: Of the norms.
        padding: Token id of padding, if positions are counted from it: the first token has position `padding + 1`, and
            padding inside a text is not counted. -1 if positions are counted from 0.
        relative: Whether attention has a bias for the distance between two tokens.
    """

    vocabulary: int
    types: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    positions: int
    epsilon: float
    activation: str = "gelu"
    padding: int = -1
    relative: bool = False

    attention: ClassVar[tuple[str, str, str, str]] = (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
    )
    """Names of the matrices of attention in a layer."""
    attention_norm: ClassVar[str] = "attention.output.LayerNorm"

    def __repr__(self) -> str:
        """A key of a fingerprint: fields at their default are left out, so that a new field changes no old key."""
        shown = [f"{f.name}={value!r}" for f in fields(self) if (value := getattr(self, f.name)) != f.default]
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def matrices(self) -> tuple[str, ...]:
        """See `Network`."""
        return "query_key_value", "attention_out", "up_proj", "down_proj"

    @classmethod
    def of_config(
        cls, config: Mapping[str, Any], *, types: int, padding: int = -1, relative: bool = False
    ) -> Self:
        """Reads the sizes from a `config.json`.

        Raises:
            EncoderError: The config has a key or a value that is not supported.
            KeyError: A size is missing.
        """
        check_keys(config)
        activation = config.get("hidden_act", "gelu")
        if activation not in ACTIVATIONS:
            raise EncoderError(
                f"activation '{activation}' is not supported. Supported: {', '.join(ACTIVATIONS)}."
            )
        width, heads = (whole_number(config, key) for key in ("hidden_size", "num_attention_heads"))
        if width % heads:
            raise EncoderError(f"hidden_size {width} is not a multiple of num_attention_heads {heads}.")
        epsilon = float(config.get("layer_norm_eps", 1e-12))
        if not 0 < epsilon < 1:
            raise EncoderError(f"config.json: 'layer_norm_eps' is {epsilon}, not between 0 and 1.")
        return cls(
            vocabulary=whole_number(config, "vocab_size"),
            types=types,
            width=width,
            layers=whole_number(config, "num_hidden_layers"),
            heads=heads,
            mlp_width=whole_number(config, "intermediate_size"),
            positions=whole_number(config, "max_position_embeddings", least=padding + 2) - padding - 1,
            epsilon=epsilon,
            activation=activation,
            padding=padding,
            relative=relative,
        )

    def module(self, rank: int, adapted: int, rngs: nnx.Rngs) -> PostNormModule:
        """See `Network`."""
        return PostNormModule(self, rank, adapted, rngs)

    def read(self, directory: Path) -> dict[str, Any]:
        """See `Network`."""
        tensors = _short_names(read_tensors(directory))
        if self.layers > len(tensors):
            raise EncoderError(
                f"config.json says {self.layers} layers, but there are {len(tensors)} tensors."
            )
        check_shapes(tensors, self.shapes())
        layers = [f"encoder.layer.{layer}." for layer in range(self.layers)]

        def stacked(*names: str) -> dict[str, np.ndarray]:
            """Joins linear layers along their outputs, and stacks them over all transformer layers."""
            kernels = [[tensors[f"{layer}{name}.weight"].T for name in names] for layer in layers]
            biases = [[tensors[f"{layer}{name}.bias"] for name in names] for layer in layers]
            return {
                "kernel": _float32(np.stack([np.concatenate(of_layer, -1) for of_layer in kernels])),
                "bias": _float32(np.stack([np.concatenate(of_layer) for of_layer in biases])),
            }

        def norm(name: str) -> dict[str, np.ndarray]:
            return {
                ours: _float32(np.stack([tensors[f"{layer}{name}.{theirs}"] for layer in layers]))
                for ours, theirs in (("scale", "weight"), ("bias", "bias"))
            }

        positions = _float32(tensors["embeddings.position_embeddings.weight"])
        if self.types:  # all tokens have type 0, so its embedding is added to that of the position
            positions = positions + _float32(tensors["embeddings.token_type_embeddings.weight"][0])
        params = {
            "tokens": {"embedding": _float32(tensors["embeddings.word_embeddings.weight"])},
            "positions": {"embedding": positions},
            "norm": {
                "scale": _float32(tensors["embeddings.LayerNorm.weight"]),
                "bias": _float32(tensors["embeddings.LayerNorm.bias"]),
            },
            "layers": {
                "query_key_value": stacked(*self.attention[:3]),
                "attention_out": stacked(self.attention[3]),
                "attention_norm": norm(self.attention_norm),
                "up_proj": stacked("intermediate.dense"),
                "down_proj": stacked("output.dense"),
                "mlp_norm": norm("output.LayerNorm"),
            },
        }
        if self.relative:
            params["distances"] = {"embedding": _float32(tensors["encoder.relative_attention_bias.weight"])}
        return params

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor to read."""
        width, mlp = self.width, self.mlp_width
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, width),
            "embeddings.position_embeddings.weight": (self.positions + self.padding + 1, width),
        }
        if self.types:
            shapes["embeddings.token_type_embeddings.weight"] = (self.types, width)
        shapes |= {"embeddings.LayerNorm.weight": (width,), "embeddings.LayerNorm.bias": (width,)}
        if self.relative:
            shapes["encoder.relative_attention_bias.weight"] = (DISTANCE_BUCKETS, self.heads)
        of_layer: dict[str, tuple[int, ...]] = {
            **dict.fromkeys(self.attention, (width, width)),
            "intermediate.dense": (mlp, width),
            "output.dense": (width, mlp),
            self.attention_norm: (width,),
            "output.LayerNorm": (width,),
        }
        for layer in range(self.layers):
            for name, shape in of_layer.items():
                stem = f"encoder.layer.{layer}.{name}"
                shapes |= {f"{stem}.weight": shape, f"{stem}.bias": shape[:1]}
        return shapes


class PostNormLayer(nnx.Module):
    """Attention and an MLP, each with a residual connection and then a norm."""

    def __init__(self, sizes: PostNorm, rank: int, rngs: nnx.Rngs):
        width = sizes.width
        norm = partial(nnx.LayerNorm, width, epsilon=sizes.epsilon, use_fast_variance=False, rngs=rngs)
        self.heads, self.activation = sizes.heads, sizes.activation
        self.query_key_value = Linear(width, 3 * width, rank, rngs)
        self.attention_out = Linear(width, width, rank, rngs)
        self.attention_norm = norm()
        self.up_proj = Linear(width, sizes.mlp_width, rank, rngs)
        self.down_proj = Linear(sizes.mlp_width, width, rank, rngs)
        self.mlp_norm = norm()

    def __call__(self, x: jax.Array, *biases: jax.Array) -> jax.Array:
        """Maps `x [B, T, D]` with biases of the attention, each `[B or 1, H or 1, T or 1, T]`."""
        batch, length, width = x.shape
        head_width = width // self.heads
        split = self.query_key_value(x).reshape(batch, length, 3, self.heads, head_width)
        query, key, value = split.transpose(2, 0, 3, 1, 4)  # [B, H, T, D / H] each: fastest on a CPU
        logits = jnp.einsum("bhtd,bhsd->bhts", query, key) * head_width**-0.5
        for bias in biases:
            logits = logits + bias
        weights = jnp.exp(logits - logits.max(-1, keepdims=True))
        mixed = jnp.einsum("bhts,bhsd->bhtd", weights, value) / weights.sum(-1, keepdims=True)
        x = self.attention_norm(x + self.attention_out(mixed.transpose(0, 2, 1, 3).reshape(x.shape)))
        return self.mlp_norm(x + self.down_proj(ACTIVATIONS[self.activation](self.up_proj(x))))


class PostNormModule(LayerStacks):
    """The network: embeddings of tokens and positions, then the layers."""

    def __init__(self, sizes: PostNorm, rank: int, adapted: int, rngs: nnx.Rngs):
        super().__init__(
            lambda rank, rngs: PostNormLayer(sizes, rank, rngs), sizes.layers, rank, adapted, rngs
        )
        self.padding = sizes.padding
        self.tokens = nnx.Embed(sizes.vocabulary, sizes.width, rngs=rngs)
        self.positions = nnx.Embed(sizes.positions + sizes.padding + 1, sizes.width, rngs=rngs)
        self.norm = nnx.LayerNorm(sizes.width, epsilon=sizes.epsilon, use_fast_variance=False, rngs=rngs)
        self.distances = nnx.Embed(DISTANCE_BUCKETS, sizes.heads, rngs=rngs) if sizes.relative else None

    def __call__(self, ids: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Network.module`."""
        length = ids.shape[1]
        if self.padding < 0:
            positions = self.positions.embedding[:length]
        else:
            counted = ids != self.padding
            positions = self.positions(self.padding + jnp.cumsum(counted, axis=1) * counted)
        x = self.norm(self.tokens(ids) + positions)
        biases = [jnp.where(token_mask(lengths, length), 0.0, -1e9)[:, None, None, :]]
        if self.distances is not None:
            biases.append(self.distances(jnp.asarray(distance_buckets(length))).transpose(2, 0, 1)[None])
        return self.run(x, lengths, *biases)


def distance_buckets(length: int) -> np.ndarray:
    """Returns the bucket of each key's distance from each query, `int32 [T, T]`.

    Half of the buckets are for keys behind the query. On each side the near half has a bucket for each distance, and
    the far half has buckets of equal ratio.

    Source: Raffel et al. (2020), T5, arXiv 1910.10683.
    """
    side, near = DISTANCE_BUCKETS // 2, DISTANCE_BUCKETS // 4
    places = np.arange(length)
    distance = places[None, :] - places[:, None]
    far = np.log(np.maximum(np.abs(distance), 1).astype(np.float32) / np.float32(near), dtype=np.float32)
    far = near + (far / np.float32(np.log(FARTHEST / near)) * np.float32(side - near)).astype(np.int32)
    steps = np.where(np.abs(distance) < near, np.abs(distance), np.minimum(far, side - 1))
    return (steps + side * (distance > 0)).astype(np.int32)


def _short_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors under their names inside the network, without those of heads.

    Files name the network (`bert.`, `0.auto_model.`) or not; old ones say gamma and beta.
    """
    anchor = "embeddings.word_embeddings.weight"
    prefix = next((name.removesuffix(anchor) for name in tensors if name.endswith(anchor)), "")
    short = {}
    for name, tensor in tensors.items():
        name = name.removeprefix(prefix)
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if not name.startswith(HEADS):
            short[name] = tensor
    return short


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False)
