"""The decoder: stacked, scanned layers from tokens to hidden states. It knows nothing of users or preferences.

Source: the model cards of the families in `architecture.FAMILIES`. Tests compare its numbers with transformers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fspo_jax.errors import ConfigError
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.attention import KeyValues, attend, causal, visibility_mask, window_mask
from fspo_jax.models.language.decoder.flash import BlockTable, block_table, flash_attention
from fspo_jax.models.language.decoder.quantization import product
from fspo_jax.models.language.decoder.rotary import rotary_angles, rotate
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.types import ReadTexts, TokenLayout

Attention = Literal["xla", "pallas"]
Remat = Literal["none", "dots", "full"]

REMAT_POLICIES: dict[str, Any] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}

MARK_SCALE = 8.0
"""Factor of marks: about the size of the states that they are added to, so that a usual learning rate moves them."""

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


class Adapter(nnx.Variable):
    """A low-rank factor beside a frozen matrix (LoRA)."""


class Norm(nnx.Module):
    """Root-mean-square norm over the last axis, in float32."""

    def __init__(self, width: int, architecture: Architecture):
        self.weight = nnx.Param(jnp.full((width,), 1.0 - architecture.norm_offset))
        self.epsilon, self.offset = architecture.norm_epsilon, architecture.norm_offset

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + self.epsilon)
        return (y * (self.weight[...].astype(jnp.float32) + self.offset)).astype(x.dtype)


class Linear(nnx.Module):
    """`x @ weight (+ bias) (+ x @ lora_a @ lora_b)`, with the low-rank part if `rank` is not 0."""

    def __init__(self, inputs: int, outputs: int, rank: int, rngs: nnx.Rngs, *, bias: bool = False):
        normal = nnx.initializers.normal(inputs**-0.5)
        self.weight = nnx.Param(normal(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None
        self.lora_a = Adapter(normal(rngs.params(), (inputs, rank))) if rank else None
        self.lora_b = Adapter(jnp.zeros((rank, outputs))) if rank else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = product(x, self.weight[...])
        if self.bias is not None:
            y = y + self.bias[...].astype(x.dtype)
        if self.lora_a is not None and self.lora_b is not None:
            y = y + (x @ self.lora_a[...].astype(x.dtype)) @ self.lora_b[...].astype(x.dtype)
        return y


class RowView(NamedTuple):
    """What a layer needs to know about the row: rotary angles and masks, for global and local layers.

    Attributes:
        angles: `float32 [2, B, T, head_width / 2]`, of global and of local layers.
        masks: For each past, and then for the row itself, `bool [2 or 1, B or 1, T, S]`. Empty with the Pallas kernel.
        table: The block table of the Pallas kernel, else None.
        window: `int32 [2]`, number of positions that global and local layers see.
    """

    angles: jax.Array
    masks: tuple[jax.Array, ...]
    table: BlockTable | None
    window: jax.Array


class Layer(nnx.Module):
    """Attention and a gated MLP, each after a norm and with a residual connection."""

    def __init__(self, architecture: Architecture, rank: int, rngs: nnx.Rngs):
        a = architecture
        heads, kv = a.heads * a.head_width, a.kv_heads * a.head_width
        self.architecture = a
        self.attention_norm = Norm(a.width, a)
        self.query = Linear(a.width, heads, rank, rngs, bias=a.attention_bias)
        self.key = Linear(a.width, kv, rank, rngs, bias=a.attention_bias)
        self.value = Linear(a.width, kv, rank, rngs, bias=a.attention_bias)
        self.output = Linear(heads, a.width, rank, rngs, bias=a.output_bias)
        self.query_norm = Norm(a.head_width, a) if a.qk_norm else None
        self.key_norm = Norm(a.head_width, a) if a.qk_norm else None
        self.attention_post_norm = Norm(a.width, a) if a.post_norms else None
        self.mlp_norm = Norm(a.width, a)
        self.gate = Linear(a.width, a.mlp_width, rank, rngs, bias=a.mlp_bias)
        self.up_proj = Linear(a.width, a.mlp_width, rank, rngs, bias=a.mlp_bias)
        self.down_proj = Linear(a.mlp_width, a.width, rank, rngs, bias=a.mlp_bias)
        self.mlp_post_norm = Norm(a.width, a) if a.post_norms else None

    def __call__(
        self,
        x: jax.Array,
        local: jax.Array,
        view: RowView,
        past: Sequence[tuple[jax.Array, jax.Array]],
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        a = self.architecture
        kind = local.astype(jnp.int32)

        def heads_of(y: jax.Array) -> jax.Array:
            return y.reshape(*y.shape[:2], -1, a.head_width)

        h = self.attention_norm(x)
        query, key, value = heads_of(self.query(h)), heads_of(self.key(h)), heads_of(self.value(h))
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query), self.key_norm(key)
        angles = view.angles[kind]
        query, key = rotate(query, angles), rotate(key, angles)
        scale = a.query_scale
        if a.rope_scaling is not None:  # transformers multiplies both, and this is their product
            scale = scale * a.rope_scaling.attention_factor**2
        if view.table is not None:
            mixed = flash_attention(query, key, value, view.table, view.window[kind], scale)
        else:
            masks = [mask[jnp.minimum(kind, len(mask) - 1)] for mask in view.masks]
            parts = [(k, v, mask) for (k, v), mask in zip([*past, (key, value)], masks, strict=True)]
            mixed = attend(query, parts, scale, a.attention_softcap)
        y = self.output(mixed.reshape(*mixed.shape[:2], -1))
        x = x + (y if self.attention_post_norm is None else self.attention_post_norm(y))
        h = self.mlp_norm(x)
        y = self.down_proj(ACTIVATIONS[a.activation](self.gate(h)) * self.up_proj(h))
        return x + (y if self.mlp_post_norm is None else self.mlp_post_norm(y)), (key, value)


class Decoder(nnx.Module):
    """The network. Its parameters have the type they were loaded in; it computes in `dtype`.

    Args:
        architecture: Shapes and switches.
        rank: Rank of the adapters of each matrix; 0 for no adapters.
        marks: Number of marks: what is added to the states of other layers that this network goes on from; 0 if it
            reads tokens.
    """

    def __init__(self, architecture: Architecture, rank: int, rngs: nnx.Rngs, marks: int = 0):
        a = self.architecture = architecture

        @nnx.split_rngs(splits=a.layers)
        @nnx.vmap(in_axes=0, out_axes=0)
        def layers(rngs: nnx.Rngs) -> Layer:
            return Layer(a, rank, rngs)

        normal = nnx.initializers.normal(0.02)
        self.embedding = nnx.Param(normal(rngs.params(), (a.vocabulary, a.width)))
        self.layers = layers(rngs)
        self.norm = Norm(a.width, a)
        self.head = None if a.tied else nnx.Param(normal(rngs.params(), (a.vocabulary, a.width)))
        self.marks = nnx.Param(jnp.zeros((marks, a.width))) if marks else None

    def __call__(
        self,
        tokens: jax.Array | ReadTexts,
        layout: TokenLayout,
        past: Sequence[KeyValues] = (),
        *,
        dtype: jnp.dtype = jnp.float32,
        attention: Attention = "xla",
        remat: Remat = "none",
        keep: bool = False,
    ) -> tuple[jax.Array, KeyValues | None]:
        """Returns the hidden states after the last norm, `[B, T, D]`, and, with `keep`, the keys and values.

        Args:
            tokens: `int32 [B, T]`, or what other layers made of them; T must be a multiple of the block for
                `attention="pallas"`.
            layout: The place of each token; leaves `int32 [B, T]`.
            past: Keys and values of earlier tokens.
            keep: Whether to return keys and values.
            attention: `"xla"` is the reference. `"pallas"` makes no T x T array and skips blocks of invisible keys.
            remat: What the backward pass computes again instead of keeping it in memory.
        """
        layers = self.architecture.layers
        x, own = self._run(
            tokens, layout, past, dtype, attention, remat, layers, lambda _, own: own if keep else None
        )
        return x, KeyValues(own[0], own[1], layout) if keep else None

    def each_layer(
        self, tokens: jax.Array, layout: TokenLayout, layers: int, pool: Callable[[jax.Array], jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the states of the last computed layer, `[B, T, D]`, and `pool` of the states of each, stacked.

        Args:
            tokens: `int32 [B, T]`.
            layout: The place of each token; leaves `int32 [B, T]`.
            layers: Number of layers to compute. With all, the states of the last are those after the last norm.
            pool: Maps states `[B, T, D]` to what is wanted of them.
        """
        x, pooled = self._run(tokens, layout, (), jnp.float32, "xla", "none", layers, lambda x, _: pool(x))
        return x, pooled.at[-1].set(pool(x))

    def without_norm(
        self,
        tokens: jax.Array,
        layout: TokenLayout,
        past: Sequence[KeyValues] = (),
        *,
        dtype: jnp.dtype = jnp.float32,
    ) -> tuple[jax.Array, KeyValues]:
        """Returns the states before the last norm, `[B, T, D]`, for other layers to go on from; and keys and values."""
        layers = self.architecture.layers
        x, own = self._run(tokens, layout, past, dtype, "xla", "none", layers, lambda _, own: own, norm=False)
        return x, KeyValues(own[0], own[1], layout)

    def _run(
        self,
        tokens: jax.Array | ReadTexts,
        layout: TokenLayout,
        past: Sequence[KeyValues],
        dtype: Any,
        attention: Attention,
        remat: Remat,
        layers: int,
        kept: Callable[[jax.Array, tuple[jax.Array, jax.Array]], Any],
        norm: bool = True,
    ) -> tuple[jax.Array, Any]:
        """Returns the states of the last layer, and what `kept` makes of each layer's states, keys and values."""
        a = self.architecture
        x = self._first_states(tokens, dtype)
        view = self._row_view(layout, past, attention)
        graph, state = nnx.split(self.layers)
        local = np.array(a.local_layers or (False,) * a.layers)
        whole = layers == a.layers
        if not whole:
            state, local = jax.tree.map(lambda leaf: leaf[:layers], (state, local))

        def body(x: jax.Array, scanned: Any) -> tuple[jax.Array, Any]:
            state, local, past = scanned
            layer = nnx.merge(graph, state)
            x, own = layer(x, local, view, past)
            return x, kept(x, own)

        if remat != "none":
            body = jax.checkpoint(body, policy=REMAT_POLICIES[remat], prevent_cse=False)
        earlier = tuple((part.keys, part.values) for part in past)
        x, found = jax.lax.scan(body, x, (state, local, earlier))
        return self.norm(x) if whole and norm else x, found

    def _first_states(self, tokens: jax.Array | ReadTexts, dtype: Any) -> jax.Array:
        if isinstance(tokens, ReadTexts):
            assert self.marks is not None
            marks = MARK_SCALE * self.marks[...].astype(jnp.float32)
            return (tokens.states.astype(jnp.float32) + marks[tokens.marks]).astype(dtype)
        scale = jnp.asarray(self.architecture.embedding_scale, dtype)
        return self.embedding[...][tokens].astype(dtype) * scale

    def output_matrix(self) -> jax.Array:
        """The matrix `[V, D]` whose products with a hidden state are the logits."""
        return self.embedding[...] if self.head is None else self.head[...]

    def _row_view(self, layout: TokenLayout, past: Sequence[KeyValues], attention: Attention) -> RowView:
        a = self.architecture
        seen = [part.layout.position.max(1) for part in past]
        length = functools.reduce(jnp.maximum, seen, layout.position.max(1)) + 1
        angles = rotary_angles(a, layout.position, length)
        far = np.iinfo(np.int32).max
        window = jnp.array([far, a.window or far], jnp.int32)
        if attention == "pallas" and a.attention_softcap:
            raise ConfigError(
                "'scorer.attention': the Pallas kernel has no soft bound of attention, which this base has. Use 'xla'."
            )
        if attention == "pallas" and not past:
            return RowView(angles, (), block_table(layout), window)
        masks = []
        for keys in [*(part.layout for part in past), layout]:
            mask = visibility_mask(layout, keys)
            if keys is layout:
                mask = mask & causal(layout.position.shape[1])
            masks.append(
                jnp.stack([mask, mask & window_mask(layout, keys, a.window)]) if a.window else mask[None]
            )
        return RowView(angles, tuple(masks), None, window)


def decoder_shapes(architecture: Architecture) -> Any:
    """Shapes of the parameters of a decoder without its head, which `load_decoder` asks for."""
    init, _ = pure_module(lambda rngs: Decoder(replace(architecture, tied=True), 0, rngs))
    return jax.eval_shape(init, jax.random.key(0))
