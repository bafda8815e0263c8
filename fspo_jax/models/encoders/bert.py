"""The BERT family: all-MiniLM-L6-v2, BGE-small, E5-small and similar models.

Source: Devlin et al. (2019), BERT, arXiv 1810.04805.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.files import check_shapes
from fspo_jax.models.encoders.layer_stacks import LayerStacks, Linear, token_mask

UNUSED = ("pooler.", "cls.", "embeddings.position_ids")
"""Prefixes of tensors that sentence embeddings do not need."""

LAYER_TENSORS = {
    "attention.self.query": "width width",
    "attention.self.key": "width width",
    "attention.self.value": "width width",
    "attention.output.dense": "width width",
    "attention.output.LayerNorm": "width",
    "intermediate.dense": "mlp_width width",
    "output.dense": "width mlp_width",
    "output.LayerNorm": "width",
}
"""Shape of each layer's weights, by names of `Bert`. The bias has the first of the two axes."""


@dataclass(frozen=True)
class Bert:
    """A network of the BERT family; see `Network`."""

    vocabulary: int
    types: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    positions: int
    epsilon: float

    @property
    def special_tokens(self) -> tuple[str, str]:
        """See `Network`."""
        return "[CLS]", "[SEP]"

    @property
    def matrices(self) -> tuple[str, ...]:
        """See `Network`."""
        return "query_key_value", "attention_out", "up_proj", "down_proj"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Bert:
        """Reads the sizes from a Hugging Face config; raises `EncoderError` if it is not supported."""
        if config.get("hidden_act", "gelu") != "gelu":
            raise EncoderError(f"activation '{config['hidden_act']}' is not supported. Supported: gelu.")
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise EncoderError(
                f"position embeddings '{config['position_embedding_type']}' are not supported. Supported: absolute."
            )
        return cls(
            vocabulary=config["vocab_size"],
            types=config.get("type_vocab_size", 2),
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            mlp_width=config["intermediate_size"],
            positions=config["max_position_embeddings"],
            epsilon=config.get("layer_norm_eps", 1e-12),
        )

    def module(self, rank: int, adapted: int, rngs: nnx.Rngs) -> BertModule:
        """See `Network`."""
        return BertModule(self, rank, adapted, rngs)

    def convert(self, tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """See `Network`."""
        tensors = {_short(name): tensor for name, tensor in tensors.items()}
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(UNUSED)}
        check_shapes(tensors, self._shapes())

        def stacked(*names: str) -> dict[str, np.ndarray]:
            """Joins linear layers along their outputs, and stacks them over all transformer layers."""
            kernels = [[tensors[f"{layer}{name}.weight"].T for name in names] for layer in self._prefixes()]
            biases = [[tensors[f"{layer}{name}.bias"] for name in names] for layer in self._prefixes()]
            return {
                "kernel": _float32(np.stack([np.concatenate(of_layer, -1) for of_layer in kernels])),
                "bias": _float32(np.stack([np.concatenate(of_layer) for of_layer in biases])),
            }

        def norm(name: str) -> dict[str, np.ndarray]:
            return {
                ours: _float32(np.stack([tensors[f"{layer}{name}.{theirs}"] for layer in self._prefixes()]))
                for ours, theirs in (("scale", "weight"), ("bias", "bias"))
            }

        # All tokens have type 0, so the embedding of the type is added to that of the position.
        positions = tensors["embeddings.position_embeddings.weight"]
        positions = positions + tensors["embeddings.token_type_embeddings.weight"][0]
        return {
            "tokens": {"embedding": _float32(tensors["embeddings.word_embeddings.weight"])},
            "positions": {"embedding": _float32(positions)},
            "norm": {
                "scale": _float32(tensors["embeddings.LayerNorm.weight"]),
                "bias": _float32(tensors["embeddings.LayerNorm.bias"]),
            },
            "layers": {
                "query_key_value": stacked(
                    "attention.self.query", "attention.self.key", "attention.self.value"
                ),
                "attention_out": stacked("attention.output.dense"),
                "attention_norm": norm("attention.output.LayerNorm"),
                "up_proj": stacked("intermediate.dense"),
                "down_proj": stacked("output.dense"),
                "mlp_norm": norm("output.LayerNorm"),
            },
        }

    def _prefixes(self) -> list[str]:
        return [f"encoder.layer.{layer}." for layer in range(self.layers)]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor to read."""
        shapes: dict[str, tuple[int, ...]] = {
            "embeddings.word_embeddings.weight": (self.vocabulary, self.width),
            "embeddings.position_embeddings.weight": (self.positions, self.width),
            "embeddings.token_type_embeddings.weight": (self.types, self.width),
            "embeddings.LayerNorm.weight": (self.width,),
            "embeddings.LayerNorm.bias": (self.width,),
        }
        for layer in self._prefixes():
            for name, axes in LAYER_TENSORS.items():
                shape = tuple(getattr(self, axis) for axis in axes.split())
                shapes |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
        return shapes


class BertLayer(nnx.Module):
    """Post-norm transformer layer."""

    def __init__(self, sizes: Bert, rank: int, rngs: nnx.Rngs):
        width = sizes.width
        norm = partial(nnx.LayerNorm, width, epsilon=sizes.epsilon, use_fast_variance=False, rngs=rngs)
        self.heads = sizes.heads
        self.query_key_value = Linear(width, 3 * width, rank, rngs)
        self.attention_out = Linear(width, width, rank, rngs)
        self.attention_norm = norm()
        self.up_proj = Linear(width, sizes.mlp_width, rank, rngs)
        self.down_proj = Linear(sizes.mlp_width, width, rank, rngs)
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
        return self.mlp_norm(x + self.down_proj(nnx.gelu(self.up_proj(x), approximate=False)))


class BertModule(LayerStacks):
    """The network: embeddings of tokens and positions, then the layers."""

    def __init__(self, sizes: Bert, rank: int, adapted: int, rngs: nnx.Rngs):
        super().__init__(lambda rank, rngs: BertLayer(sizes, rank, rngs), sizes.layers, rank, adapted, rngs)
        self.tokens = nnx.Embed(sizes.vocabulary, sizes.width, rngs=rngs)
        self.positions = nnx.Embed(sizes.positions, sizes.width, rngs=rngs)
        self.norm = nnx.LayerNorm(sizes.width, epsilon=sizes.epsilon, use_fast_variance=False, rngs=rngs)

    def __call__(self, ids: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Network.module`."""
        x = self.norm(self.tokens(ids) + self.positions.embedding[: ids.shape[1]])
        bias = jnp.where(token_mask(lengths, ids.shape[1]), 0.0, -1e9)[:, None, None, :]
        return self.run(x, lengths, bias)


def _short(name: str) -> str:
    return (
        name.removeprefix("bert.")
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias")
    )


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False)
