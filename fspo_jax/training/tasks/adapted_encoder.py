"""The encoder's features as a function of its adapters, forwards and backwards.

Texts go through the encoder in batches of one length each; a loss gives the gradient of their features, and that goes
back through each batch. So long texts and short ones share a step without padding to the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fspo_jax.config import EncoderConfig
from fspo_jax.models.encoders.adapters import (
    join_encoder_adapters,
    merge_encoder_adapters,
)
from fspo_jax.models.encoders.text_encoder import TextEncoder, forward_function, token_batches
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import put_batch, replicated
from fspo_jax.types import Prompt

WINDOW = 128
"""Tokens of a text that training reads, from its beginning; serving reads all."""

ROW_UNIT = 64
"""The number of texts of a step is padded to a multiple, so that few programs are compiled."""

Items = Sequence[tuple[Prompt, str]]


class ItemTexts(NamedTuple):
    """What the encoder reads of each item, and what it does not.

    Attributes:
        windows: Token ids.
        style: `float32 [N, S]`, features beside the encoder's.
    """

    windows: list[list[int]]
    style: np.ndarray


def read_items(featurizer: Featurizer, items: Items) -> ItemTexts:
    """Tokens and style of items."""
    texts = [featurizer.text(prompt, response) for prompt, response in items]
    length = min(WINDOW, featurizer.encoder.max_tokens)
    windows = [of_text[0] for of_text in featurizer.encoder.windows(texts, length)]
    return ItemTexts(windows, featurizer.style([response for _, response in items]))


class AdaptedEncoder:
    """The encoder's features as a function of its adapters, forwards and backwards.

    Args:
        featurizer: Holds the encoder and the recipe.
        config: Rank and number of layers of the adapters.
        mesh: Batches of texts are divided over its devices.
    """

    def __init__(self, featurizer: Featurizer, config: EncoderConfig, mesh: Mesh):
        encoder: TextEncoder = featurizer.encoder
        beside = forward_function(encoder.config, config.adapter_rank, config.adapter_layers)
        plain = forward_function(encoder.config)
        layer = featurizer.hidden_layer

        def pulled(
            frozen: Params, adapters: Params, ids: jax.Array, lengths: jax.Array
        ) -> tuple[jax.Array, Any]:
            def of_adapters(adapters: Params) -> jax.Array:
                joined = join_encoder_adapters(frozen, adapters)
                return featurizer.scaled(beside(joined, ids, lengths, layer=layer), adapters)

            return jax.vjp(of_adapters, adapters)

        self._frozen = jax.device_put(encoder.params, replicated(mesh))
        self._merged, self._pulled = jax.jit(merge_encoder_adapters), jax.jit(pulled)
        # Two programs: as one, XLA of jax 0.11.2 does not compile it for a GPU.
        self._pooled, self._scaled = jax.jit(plain, static_argnames="layer"), jax.jit(featurizer.scaled)
        self._layer = layer
        self._back = jax.jit(lambda pullback, cotangent: pullback(cotangent)[0])
        self._add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))
        self._mesh = mesh
        self._window = min(WINDOW, encoder.max_tokens)

    def features(self, adapters: Params, texts: ItemTexts) -> np.ndarray:
        """Features `float32 [N, F]` of all items, by weights with the adapters merged, as in serving."""
        merged = self._merged(self._frozen, adapters)
        result: np.ndarray | None = None
        for taken, ids, lengths in token_batches(texts.windows, self._window):
            pooled = self._pooled(merged, *put_batch(self._mesh, (ids, lengths)), layer=self._layer)
            rows = np.asarray(self._scaled(pooled, adapters))
            if result is None:
                result = np.zeros((len(texts.windows), rows.shape[1]), np.float32)
            result[taken] = rows[: len(taken)]
        assert result is not None
        return np.concatenate([result, texts.style], axis=1)

    def gradient(
        self,
        adapters: Params,
        texts: ItemTexts,
        items: np.ndarray,
        loss_gradient: Callable[[jax.Array, np.ndarray], tuple[Any, jax.Array]],
    ) -> tuple[Any, Params]:
        """Runs some items through the encoder and a loss, and back.

        Args:
            adapters: Of the encoder.
            texts: Of all items.
            items: `int32 [M]`, those that the loss reads.
            loss_gradient: From features `[R, F]` of the encoder and the place of each item in them, `int32 [M]`, to
                anything and the gradient with respect to the features.

        Returns:
            The first result of `loss_gradient` and the gradient with respect to the adapters.
        """
        parts, pullbacks, places = [], [], np.zeros(len(items), np.int32)
        rows = 0
        for taken, ids, lengths in token_batches([texts.windows[i] for i in items], self._window):
            part, pullback = self._pulled(self._frozen, adapters, *put_batch(self._mesh, (ids, lengths)))
            places[taken] = np.arange(rows, rows + len(taken))
            rows += len(part)
            parts.append(part)
            pullbacks.append(pullback)
        parts.append(jnp.zeros((-rows % ROW_UNIT, parts[0].shape[1])))
        result, cotangent = loss_gradient(jnp.concatenate(parts), places)
        total, start = None, 0
        for part, pullback in zip(parts, pullbacks, strict=False):
            gradient = self._back(pullback, cotangent[start : start + len(part)])
            start += len(part)
            total = gradient if total is None else self._add(total, gradient)
        return result, total
