"""Features of (prompt, response): frozen sentence embeddings and style, cached on disk by text."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.config import EncoderConfig
from fspo_jax.models.encoders.adapters import APPROVAL
from fspo_jax.models.encoders.text_encoder import TextEncoder, load_encoder, with_adapters
from fspo_jax.models.features.cache import EmbeddingCache
from fspo_jax.models.features.style import FEATURES, STYLE_VERSION, style_features
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import Prompt

ITEMS_PER_PART = 256
"""Items that become features between two reports of progress."""


class Featurizer:
    """Turns (prompt, response) items into features whose columns have about unit variance.

    Recipes, with t the text vector (the embedding, and the hidden states of `hidden_layer` beside it), scaled by the
    root of the encoder's width D, and e its embedding:
        `response`: t(response).
        `joint`: t(prompt, blank line, response), one text.
        `interaction`: t(response) beside e(response) * e(prompt).
    With `approval`, the approval of the embedding is appended (zero without adapters); with `style`, the style features
    of the response.

    Attributes:
        dimension: F, width of the features.
        fingerprint: Hash of encoder, recipe, layer and style version.
        encoder: With its adapters merged.
        adapters: Of the encoder, or None.
        hidden_layer: Of the config.

    Raises:
        EncoderError: The encoder has no such layer.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        config: EncoderConfig,
        directory: str | Path,
        adapters: Mapping[str, Any] | None = None,
    ):
        encoder.check_layer(config.hidden_layer)
        self.adapters = adapters
        self.base = encoder
        encoder = self.encoder = with_adapters(encoder, adapters) if adapters else encoder
        self._config, self._directory = config, directory
        self.hidden_layer = config.hidden_layer
        self._width = encoder.dimension * (2 if config.hidden_layer else 1)
        self._cache = EmbeddingCache(
            directory,
            f"{encoder.fingerprint}-{config.hidden_layer}-{STYLE_VERSION}",
            self._width + len(FEATURES),
        )
        self._approval = np.asarray((adapters or {}).get(APPROVAL, np.zeros(encoder.dimension)), np.float32)
        self.dimension = self._width + (encoder.dimension if config.recipe == "interaction" else 0)
        self.dimension += config.approval + (len(FEATURES) if config.style else 0)
        parts = [encoder.fingerprint, config.recipe, config.hidden_layer, config.style and STYLE_VERSION]
        parts += ["approval"] if config.approval else []
        self.fingerprint = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        """Features `float32 [N, F]` of N items.

        Args:
            prompts: N prompts.
            responses: N response texts.
        """
        rows = self._cache.rows(responses, self._compute)
        if self._config.recipe == "response" and self._config.style and not self._config.approval:
            return rows
        parts = [rows[:, : self._width]]
        if self._config.recipe == "joint":
            texts = [self.text(p, r) for p, r in zip(prompts, responses, strict=True)]
            parts = [self._cache.rows(texts, self._compute)[:, : self._width]]
        elif self._config.recipe == "interaction":
            width = self.encoder.dimension
            of_prompt = self._cache.rows([render_prompt(p) for p in prompts], self._compute)
            parts.append(rows[:, :width] * of_prompt[:, :width])
        if self._config.approval:
            parts.append(parts[0][:, : len(self._approval)] @ self._approval[:, None])
        if self._config.style:
            parts.append(rows[:, self._width :])
        return np.concatenate(parts, axis=1)

    def adapted(self, adapters: Mapping[str, Any]) -> Featurizer:
        """The same recipe on the same base encoder with other adapters."""
        return Featurizer(self.base, self._config, self._directory, adapters)

    def text(self, prompt: Prompt, response: str) -> str:
        """What the encoder reads of an item."""
        return f"{render_prompt(prompt)}\n\n{response}" if self._config.recipe == "joint" else response

    def style(self, responses: Sequence[str]) -> np.ndarray:
        """What stands beside the encoder's features, `float32 [N, S]`; S is 0 without style."""
        if not self._config.style:
            return np.zeros((len(responses), 0), np.float32)
        return np.stack([style_features(text) for text in responses])

    def scaled(self, pooled: jax.Array, adapters: Mapping[str, Any]) -> jax.Array:
        """Pooled vectors of the encoder as features; what serving does to a text of one window."""
        embedding, hidden = jnp.split(pooled, [self.encoder.dimension], axis=-1)
        parts = [
            embedding / _norm(embedding) if self.encoder.config.normalize else embedding,
            hidden / _norm(hidden),
        ]
        parts = [part * self.encoder.dimension**0.5 for part in (parts if self.hidden_layer else parts[:1])]
        if self._config.approval:
            parts.append(parts[0] @ adapters[APPROVAL][:, None])
        return jnp.concatenate(parts, axis=-1)

    def _compute(self, texts: list[str]) -> np.ndarray:
        vectors = self.encoder.encode(texts, self._config.hidden_layer) * self.encoder.dimension**0.5
        return np.concatenate([vectors, np.stack([style_features(text) for text in texts])], axis=1)


def _norm(x: jax.Array) -> jax.Array:
    return jnp.maximum(jnp.sqrt(jnp.square(x).sum(-1, keepdims=True)), 1e-6)


class FeatureFunction(Protocol):
    """Text to features; `Featurizer` is one."""

    @property
    def dimension(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray: ...


def featurize(
    featurizer: FeatureFunction,
    items: Sequence[tuple[Prompt, str]],
    on_encoded: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Features `float32 [N, F]` of (prompt, response) items, in parts, so that progress can be reported.

    Args:
        featurizer: Makes them.
        items: N prompts and responses.
        on_encoded: Called with the numbers of items done and of all, first with none done.
    """
    features = np.empty((len(items), featurizer.dimension), np.float32)
    report = on_encoded or (lambda done, total: None)
    report(0, len(items))
    for start in range(0, len(items), ITEMS_PER_PART):
        part = items[start : start + ITEMS_PER_PART]
        features[start : start + len(part)] = featurizer(*zip(*part, strict=True))
        report(start + len(part), len(items))
    return features


def make_featurizer(config: EncoderConfig) -> Featurizer:
    """Loads the encoder of `config` and opens its cache.

    The cache lies in `config.cache`, else in `$FSPO_CACHE`, else in `~/.cache/fspo_jax`.

    Raises:
        EncoderError: The weights are missing or damaged, or the cache's directory cannot be written.
    """
    directory = config.cache or os.environ.get("FSPO_CACHE") or Path.home() / ".cache" / "fspo_jax"
    return Featurizer(load_encoder(config.model), config, directory)
