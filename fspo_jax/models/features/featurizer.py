"""Features of (prompt, response): blocks side by side, cached on disk by what each of them reads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.errors import CheckpointError
from fspo_jax.models.encoders.contract import Encoder
from fspo_jax.models.encoders.text_encoder import check_layers
from fspo_jax.models.features.absent import Absent, BlockRecord
from fspo_jax.models.features.cache import TextCache
from fspo_jax.models.features.contract import EncoderBlock, ItemBlock, Items, TextBlock
from fspo_jax.models.features.fitted import Fitted, changed, changed_blocks
from fspo_jax.models.features.recent import RecentRows
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import Prompt

Text = TypeVar("Text", str, tuple[Prompt, str])


class Cost(NamedTuple):
    """What was not in the cache.

    Attributes:
        texts: Number of texts or items that were computed.
        seconds: Time that it took, with compilation.
    """

    texts: int
    seconds: float


class Featurizer:
    """Turns (prompt, response) items into features whose columns have about unit variance.

    A row holds the encoder's blocks first, then those of the response alone, then those that read the prompt too, each
    in the given order. One pass of the encoder serves all that read it. What reads the response alone is computed once
    per response, whatever the prompt.

    Args:
        encoder: Without adapters.
        encoder_blocks: Blocks of what the encoder makes of a response.
        text_blocks: Blocks of the response alone.
        item_blocks: Blocks of the prompt and the response.
        directory: Of the cache on disk; None for no such cache.
        adapters: Of the encoder, with the parameters of the blocks, by name.
        fitted: What was fitted for each block, or nothing.

    Attributes:
        blocks: Width of each block of columns by name, in order.
        columns: For each block, the names of its columns with their words, or none. Directions have none.
        dimension: F, width of the features.
        fingerprint: Hash of the encoder and the blocks, and of which are missing.
        whole_fingerprint: The fingerprint with the missing blocks.
        missing: Names of the blocks that are zero, because the reward was loaded without them.
        costs: What each block has cost here; blocks of the run's encoder together, since one pass serves all.
        optional: The blocks that do not read the run's encoder; a reward can be loaded without them.
        base: The encoder without adapters.
        encoder: The encoder with its adapters merged.
        adapters, fitted: As given, or None and nothing.
        layers: Hidden layers that the encoder's blocks read.

    Raises:
        CheckpointError: What was fitted has another width than its block.
        EncoderError: The encoder has no such layer.
    """

    def __init__(
        self,
        encoder: Encoder,
        encoder_blocks: Sequence[EncoderBlock],
        text_blocks: Sequence[TextBlock],
        item_blocks: Sequence[ItemBlock],
        directory: str | Path | None,
        adapters: Mapping[str, Any] | None = None,
        fitted: Fitted | None = None,
    ):
        self.layers = tuple(sorted({block.layer for block in encoder_blocks if block.layer}))
        check_layers(encoder.layers, self.layers)
        self.base, self.adapters = encoder, adapters
        encoder = self.encoder = encoder.adapted(adapters) if adapters else encoder
        self._encoder_blocks, self._text_blocks, self._item_blocks = encoder_blocks, text_blocks, item_blocks
        self._directory = directory
        every = [*encoder_blocks, *text_blocks, *item_blocks]
        self.fitted = {name: np.asarray(array, np.float32) for name, array in (fitted or {}).items()}
        for block in every:
            shape = self.fitted[block.name].shape if block.name in self.fitted else (block.width,)
            if len(shape) not in (1, 2) or shape[0] != block.width:
                raise CheckpointError(
                    f"what was fitted for the block '{block.name}' has the shape {shape}, but the block has "
                    f"{block.width} columns."
                )
        self.blocks = changed_blocks({block.name: block.width for block in every}, self.fitted)
        self.columns = {
            block.name: block.columns if np.ndim(self.fitted.get(block.name, 0)) < 2 else {}
            for block in every
        }
        self.dimension = sum(self.blocks.values())
        self._params = {
            block.name: np.asarray((adapters or {})[block.name], np.float32)
            for block in encoder_blocks
            if block.name in (adapters or {})
        }
        digest = hashlib.sha256(encoder.fingerprint.encode())
        for block in every:
            digest.update(f"\n{block.width} {block.fingerprint}".encode())
            for of_blocks in (self._params, self.fitted):
                digest.update(of_blocks[block.name].tobytes() if block.name in of_blocks else b"")
        self.whole_fingerprint = self.fingerprint = digest.hexdigest()[:16]
        beside = [*text_blocks, *item_blocks]
        self.optional = {block.name: BlockRecord(block.width, block.fingerprint) for block in beside}
        self.missing = tuple(block.name for block in beside if isinstance(block, Absent))
        if self.missing:
            digest.update(f"\nwithout {self.missing}".encode())
            self.fingerprint = digest.hexdigest()[:16]
        layers = "-".join(map(str, self.layers))
        width = encoder.dimension * (1 + len(self.layers))
        self.costs: dict[str, Cost] = {}
        one_pass = ", ".join(block.name for block in encoder_blocks) or "encoder"
        self._of_encoder = self._cached(one_pass, f"{encoder.fingerprint}-{layers}", width, self._encode)
        self._of_base = self._of_encoder
        if any(block.reads_encoder for block in item_blocks):
            if self.adapters:
                name, folder = "encoder without adapters", f"{self.base.fingerprint}-"
                its = self._cached(name, folder, encoder.dimension, self._encode_without_adapters)
                self._of_base = RecentRows(encoder.dimension, its).rows
            else:  # a text is then asked for more than once
                self._of_base = self._of_encoder = RecentRows(width, self._of_encoder).rows
        self._of_text = [
            block.values
            if isinstance(block, Absent)
            else self._cached(block.name, block.fingerprint, block.width, block.values)
            for block in text_blocks
        ]
        self._of_item = [self._cached_items(block) for block in item_blocks]
        of_items = sum(self.blocks[block.name] for block in item_blocks)
        self._recent_texts = RecentRows(self.dimension - of_items, self._of_responses)
        self._recent_items = RecentRows(of_items, self._of_items)

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        """Features `float32 [N, F]` of N items.

        Args:
            prompts: N prompts.
            responses: N response texts.
        """
        rows = self._recent_texts.rows(responses)
        if not self._item_blocks:
            return rows
        items = list(zip(prompts, responses, strict=True))
        return np.concatenate([rows, self._recent_items.rows(items)], axis=1)

    def warm_up(self) -> None:
        """Compiles what a few short texts need that are not in the cache: of other models, what one text needs."""
        reads = any(block.reads_encoder for block in self._item_blocks)
        if self._encoder_blocks or (reads and not self.adapters):
            self.encoder.warm_up(self.layers)
        if reads and self.adapters:
            self.base.warm_up()
        for block in self._text_blocks:
            block.values(["A text."])
        for block in self._item_blocks:
            vectors = np.ones((1, self.base.dimension if block.reads_encoder else 0), np.float32)
            block.values(Items(["A prompt."], ["A text."], vectors, vectors))

    def adapted(self, adapters: Mapping[str, Any]) -> Featurizer:
        """The same blocks on the same base encoder with other adapters."""
        return self._with(adapters, self.fitted)

    def with_fitted(self, fitted: Fitted) -> Featurizer:
        """The same blocks with what was fitted for them."""
        return self._with(self.adapters, fitted)

    def _with(self, adapters: Mapping[str, Any] | None, fitted: Fitted) -> Featurizer:
        blocks = self._encoder_blocks, self._text_blocks, self._item_blocks
        return Featurizer(self.base, *blocks, self._directory, adapters, fitted)

    def init_adapters(self, key: jax.Array, rank: int, layers: int) -> dict[str, Any]:
        """Adapters of the encoder that change nothing yet, and the parameters of the blocks.

        Args:
            key: Random key.
            rank: At least 1.
            layers: Number of layers with adapters, the last ones.

        Raises:
            EncoderError: The encoder has no adapters, or fewer layers.
        """
        of_blocks = {block.name: block.init() for block in self._encoder_blocks}
        of_blocks = {name: params for name, params in of_blocks.items() if params is not None}
        return {**of_blocks, **self.base.init_adapters(key, rank, layers)}

    def other_columns(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        """The columns behind those of the encoder's blocks, `float32 [N, S]`; S may be 0."""
        items = list(zip(prompts, responses, strict=True))
        empty = np.zeros((len(items), 0), np.float32)
        return np.concatenate([empty, *self._texts(list(responses)), self._of_items(items)], axis=1)

    def encoder_columns(self, pooled: jax.Array, adapters: Mapping[str, Any]) -> jax.Array:
        """From pooled vectors `[N, D (1 + layers)]` to the encoder's columns `[N, E]`; pure.

        Equals what serving makes of a text of one window.
        """
        rows = self.encoder.normalized(pooled) * self.encoder.dimension**0.5
        return jnp.concatenate(self._columns(rows, adapters), axis=-1)

    def _columns(self, rows: Any, params: Mapping[str, Any]) -> list[Any]:
        """The values of each block of the encoder, from its vectors side by side."""
        width, places = self.encoder.dimension, (0, *self.layers)
        starts = {layer: i * width for i, layer in enumerate(places)}
        return [
            changed(
                block.values(
                    rows[:, starts[block.layer] : starts[block.layer] + width], params.get(block.name)
                ),
                self.fitted.get(block.name),
            )
            for block in self._encoder_blocks
        ]

    def _texts(self, responses: list[str]) -> list[np.ndarray]:
        """The values of each block of the response alone."""
        return [
            changed(rows(responses), self.fitted.get(block.name))
            for block, rows in zip(self._text_blocks, self._of_text, strict=True)
        ]

    def _cached(
        self, name: str, fingerprint: str, width: int, compute: Callable[[list[Text]], np.ndarray]
    ) -> Callable[[list[Text]], np.ndarray]:
        """The function `compute` with its cost noted, and a cache on disk if there is a directory for it."""

        def timed(texts: list[Text]) -> np.ndarray:
            start = time.perf_counter()
            rows = compute(texts)
            before = self.costs.get(name, Cost(0, 0.0))
            self.costs[name] = Cost(before.texts + len(texts), before.seconds + time.perf_counter() - start)
            return rows

        if self._directory is None:
            return timed
        return TextCache(self._directory, fingerprint, width, timed).rows

    def _cached_items(self, block: ItemBlock) -> Callable[[list[tuple[Prompt, str]]], np.ndarray]:
        """The values of a block by (prompt, response), cached."""

        def values(items: list[tuple[Prompt, str]]) -> np.ndarray:
            prompts, responses = [prompt for prompt, _ in items], [response for _, response in items]
            vectors = [np.zeros((len(items), 0), np.float32)] * 2
            if block.reads_encoder:
                rendered = [render_prompt(prompt) for prompt in prompts]
                width = self.encoder.dimension
                vectors = np.split(self._of_base(rendered + responses)[:, :width], 2)
            return block.values(Items(prompts, responses, *vectors))

        if isinstance(block, Absent):
            return values
        encoder = f"-{self.base.fingerprint}" if block.reads_encoder else ""
        return self._cached(block.name, f"{block.fingerprint}{encoder}", block.width, values)

    def _of_responses(self, responses: list[str]) -> np.ndarray:
        """The columns of distinct responses that do not depend on the prompt, side by side."""
        empty = np.zeros((len(responses), 0), np.float32)
        parts = self._columns(self._of_encoder(responses), self._params) if self._encoder_blocks else []
        return np.concatenate([empty, *parts, *self._texts(responses)], axis=1)

    def _of_items(self, items: list[tuple[Prompt, str]]) -> np.ndarray:
        """The columns of distinct items that depend on the prompt too, side by side."""
        empty = np.zeros((len(items), 0), np.float32)
        parts = [
            changed(rows(items), self.fitted.get(block.name))
            for block, rows in zip(self._item_blocks, self._of_item, strict=True)
        ]
        return np.concatenate([empty, *parts], axis=1)

    def _encode_without_adapters(self, texts: list[str]) -> np.ndarray:
        return self.base.encode(texts) * self.base.dimension**0.5

    def _encode(self, texts: list[str]) -> np.ndarray:
        return self.encoder.encode(texts, self.layers) * self.encoder.dimension**0.5
