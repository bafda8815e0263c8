"""Features of an encoder as a function of its adapters, with their gradient.

Texts are encoded in batches of equal length. A loss gives the gradient with respect to the features, and each batch is
passed back with it. So a step can have long and short texts without padding all to the longest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from fspo_jax.models.encoders.windows import token_batches
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import put_batch, replicated
from fspo_jax.types import Prompt

WINDOW = 128
"""Number of tokens at the beginning of a text that training reads. Serving reads all tokens."""

ROW_UNIT = 64
"""The number of texts of a step is padded to a multiple of this, so that few programs are compiled."""

Items = Sequence[tuple[Prompt, str]]


class ItemTexts(NamedTuple):
    """The inputs of the encoder for each item, and its features that do not depend on the encoder.

    Attributes:
        windows: Token ids.
        columns: `float32 [N, S]`, features that do not depend on the encoder.
    """

    windows: list[list[int]]
    columns: np.ndarray


def read_items(featurizer: Featurizer, items: Items) -> ItemTexts:
    """Returns the tokens of items and their features that do not depend on the encoder."""
    prompts, texts = [prompt for prompt, _ in items], [response for _, response in items]
    length = min(WINDOW, featurizer.encoder.max_tokens)
    windows = [of_text[0] for of_text in featurizer.encoder.windows(texts, length)]
    return ItemTexts(windows, featurizer.other_columns(prompts, texts))


class AdaptedEncoder:
    """Features of an encoder as a function of its adapters, with their gradient.

    Args:
        featurizer: Holds the encoder and the blocks.
        mesh: The devices over which batches of texts are divided.
    """

    def __init__(self, featurizer: Featurizer, mesh: Mesh):
        encoder, layers = featurizer.encoder, featurizer.layers

        def pulled(
            frozen: Params, adapters: Params, ids: jax.Array, lengths: jax.Array
        ) -> tuple[jax.Array, Any]:
            def of_adapters(adapters: Params) -> jax.Array:
                pooled = encoder.forward(encoder.join(frozen, adapters), ids, lengths, layers=layers)
                return featurizer.encoder_columns(pooled, adapters)

            return jax.vjp(of_adapters, adapters)

        self._frozen = jax.device_put(encoder.params, replicated(mesh))
        self._merged, self._pulled = jax.jit(encoder.merge), jax.jit(pulled)
        # Two programs, because XLA of jax 0.11.2 cannot compile them as one for a GPU.
        self._pooled = jax.jit(encoder.forward, static_argnames="layers")
        self._columns = jax.jit(featurizer.encoder_columns)
        self._layers = layers
        self._back = jax.jit(lambda pullback, cotangent: pullback(cotangent)[0])
        self._add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))
        self._mesh = mesh
        self._window = min(WINDOW, encoder.max_tokens)

    def features(self, adapters: Params, texts: ItemTexts) -> np.ndarray:
        """Returns features `float32 [N, F]` of all items. As in serving, the adapters are merged into the weights."""
        merged = self._merged(self._frozen, adapters)
        result: np.ndarray | None = None
        for taken, ids, lengths in token_batches(texts.windows, self._window):
            pooled = self._pooled(merged, *put_batch(self._mesh, (ids, lengths)), layers=self._layers)
            rows = np.asarray(self._columns(pooled, adapters))
            if result is None:
                result = np.zeros((len(texts.windows), rows.shape[1]), np.float32)
            result[taken] = rows[: len(taken)]
        assert result is not None
        return np.concatenate([result, texts.columns], axis=1)

    def gradient(
        self,
        adapters: Params,
        texts: ItemTexts,
        items: np.ndarray,
        loss_gradient: Callable[[jax.Array, np.ndarray], tuple[Any, jax.Array]],
    ) -> tuple[Any, Params]:
        """Computes the gradient of a loss with respect to the adapters.

        Args:
            adapters: The adapters of the encoder.
            texts: The texts of all items.
            items: `int32 [M]`, the items that the loss reads.
            loss_gradient: Maps features `[R, F]` of the encoder, and the place of each item in them, `int32 [M]`, to
                any result and the gradient with respect to the features.

        Returns:
            The first result of `loss_gradient`, and the gradient with respect to the adapters.
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
