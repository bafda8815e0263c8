"""Stacked, scanned layers, of which the last may have low-rank adapters. Every family uses them.

One program runs all layers, so compiling 24 layers takes as long as compiling two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Linear(nnx.Linear):
    """A linear layer, with a low-rank adapter if `rank` is not 0: `x W + b + (x A) B`."""

    def __init__(self, inputs: int, outputs: int, rank: int, rngs: nnx.Rngs):
        super().__init__(inputs, outputs, rngs=rngs)
        self.adapter = None
        if rank:
            factors = {"lora_a": jnp.zeros((inputs, rank)), "lora_b": jnp.zeros((rank, outputs))}
            self.adapter = nnx.data({name: nnx.Param(factor) for name, factor in factors.items()})

    def __call__(self, x: jax.Array) -> jax.Array:
        y = super().__call__(x)
        if self.adapter is None:
            return y
        return y + (x @ self.adapter["lora_a"][...]) @ self.adapter["lora_b"][...]


class LayerStacks(nnx.Module):
    """Base class of a network: one stack of layers without adapters, and one with adapters.

    Args:
        make_layer: `(rank, rngs) -> layer`. A layer maps `x [B, T, D]` and the arguments of `run` to `[B, T, D]`.
        layers: Number of all layers.
        rank: Rank of the adapters.
        adapted: Number of layers with adapters, the last ones.
    """

    def __init__(
        self,
        make_layer: Callable[[int, nnx.Rngs], nnx.Module],
        layers: int,
        rank: int,
        adapted: int,
        rngs: nnx.Rngs,
    ):
        def stack(count: int, rank: int) -> nnx.Module:
            return nnx.split_rngs(splits=count)(nnx.vmap(lambda rngs: make_layer(rank, rngs)))(rngs)

        self.layers = stack(layers - adapted, 0) if adapted < layers else None
        self.adapted = stack(adapted, rank) if adapted else None

    def run(self, x: jax.Array, lengths: jax.Array, *arguments: Any) -> tuple[jax.Array, jax.Array]:
        """Runs all layers.

        Args:
            x: `[B, T, D]`, vectors of the tokens.
            lengths: `int32 [B]`, number of tokens of each row.
            arguments: Arguments of every layer, such as a bias of the attention.

        Returns:
            States of the last layer `[B, T, D]`, and every layer's mean over tokens `[L, B, D]`.
        """
        mask, count = token_mask(lengths, x.shape[1])[..., None], jnp.maximum(lengths, 1)[:, None]
        means = []
        for stack in (self.layers, self.adapted):
            if stack is None:
                continue
            graph, layers = nnx.split(stack)

            def forward(
                x: jax.Array, layer: nnx.State, graph: nnx.GraphDef = graph
            ) -> tuple[jax.Array, jax.Array]:
                x = nnx.merge(graph, layer)(x, *arguments)
                return x, jnp.where(mask, x, 0.0).sum(1) / count

            x, of_stack = jax.lax.scan(forward, x, layers)
            means.append(of_stack)
        return x, jnp.concatenate(means)


def token_mask(lengths: jax.Array, width: int) -> jax.Array:
    """Returns `bool [B, T]`, true for the tokens of a row and false for padding."""
    return jnp.arange(width) < lengths[:, None]
