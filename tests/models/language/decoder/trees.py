"""Random rows of episodes as trees, and the states of plain rows, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.types import TokenLayout


def random_layout(seed: int, rows: int, length: int, *, shots: int = 0) -> TokenLayout:
    """Rows with several episodes: a head, perhaps shots that do not see each other, questions with two branches."""
    generator = np.random.default_rng(seed)
    leaves: list[list[list[int]]] = [[], [], [], []]
    for _ in range(rows):
        tokens: list[tuple[int, int, int, int]] = []
        episode = 0
        while len(tokens) < length - 30:
            episode += 1
            head = int(generator.integers(5, 40))
            tokens += [(p, episode, 0, 0) for p in range(head)]
            for shot in range(1, shots + 1):
                tokens += [(head + p, episode, -shot, 0) for p in range(generator.integers(3, 12))]
            start = head + 12
            for question in range(1, 4):
                size = int(generator.integers(2, 9))
                tokens += [(start + p, episode, question, 0) for p in range(size)]
                for branch in (1, 2):
                    tokens += [
                        (start + size + p, episode, question, branch)
                        for p in range(generator.integers(1, 20))
                    ]
        tokens = (tokens[: length - 5] + [(0, 0, 0, 0)] * length)[:length]
        for leaf, values in zip(leaves, zip(*tokens, strict=True), strict=True):
            leaf.append(list(values))
    return TokenLayout(*(jnp.asarray(leaf, jnp.int32) for leaf in leaves))


def states_of_layers(
    architecture: Architecture, params: Mapping[str, Any], tokens: jax.Array, mask: jax.Array
) -> jax.Array:
    """States of each layer, `[L, B, T, D]`, with zeros where there is no token; the last ones after the last norm."""
    _, bind = pure_module(lambda rngs: Decoder(replace(architecture, tied=True), 0, rngs))
    zero = jnp.zeros(tokens.shape, jnp.int32)
    layout = TokenLayout(
        jnp.cumsum(mask, axis=1, dtype=jnp.int32).clip(1) - 1, mask.astype(jnp.int32), zero, zero
    )
    body = {name: leaf for name, leaf in params.items() if name != "head"}
    each = bind(body).each_layer(tokens, layout, architecture.layers, lambda states: states)[1]
    return jnp.where(mask[..., None], each, 0)
