"""The model that training starts from: a pretrained decoder, or a random one with sizes from the config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from fspo_jax.checkpoints.language import read_base
from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.config.cache import cache_directory
from fspo_jax.errors import ConfigError
from fspo_jax.models.language.base import freeze, load_base, load_lower_layers
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.log_probabilities import OutputTokens
from fspo_jax.models.language.parts import LanguageParts, make_parts
from fspo_jax.models.scorers.contract import Params
from fspo_jax.partitioning import batch_shards, parameter_sharding, tree_sharding
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.training.state import random_keys
from fspo_jax.types import Prompt

REMEMBERED_TEXTS = 1 << 18
"""Number of texts whose tokens are kept in memory."""

Items = Sequence[tuple[Prompt, str]]


def start_language_model(
    config: TrainConfig, items: Items, mesh: Mesh
) -> tuple[LanguageParts, Params, Params]:
    """Returns the parts of the model, and its trained and frozen parameters, divided over the mesh.

    Without a base, the tokenizer is learned from `items` and the decoder is random. Both depend on the config and the
    items only.
    """
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    rows = batch_shards(mesh) * scorer.micro_batches
    if scorer.base:
        base = read_base(scorer.base, allow_download=True)
        parts = make_parts(
            config,
            base.architecture,
            base.tokenizer,
            base_digest=base.digest,
            rows=rows,
            remember=REMEMBERED_TEXTS,
            lower=load_lower_layers(base, scorer.split_layer, cache_directory(config.encoder.cache))
            if scorer.split_layer
            else None,
        )

        def sharding(path: tuple[str, ...], shape: tuple[int, ...]) -> jax.sharding.Sharding:
            return parameter_sharding(mesh, path, shape)

        decoder = load_base(base, parts.model, config.seed, frozen=bool(scorer.lora_rank), sharding=sharding)
    else:
        tokenizer = TextTokenizer.train(texts_of(items), scorer.vocabulary)
        parts = make_parts(
            config, from_scratch(scorer, tokenizer), tokenizer, rows=rows, remember=REMEMBERED_TEXTS
        )

        def scratch() -> Mapping[str, Any]:
            return parts.model.init_decoder(jax.random.split(random_keys(config.seed)[0])[0])

        decoder = jax.jit(scratch, out_shardings=tree_sharding(mesh, jax.eval_shape(scratch)))()
    model = parts.model

    # Keys are made inside jit, because a key made here would be on the device of this process only.
    def init(decoder: Mapping[str, Any]) -> tuple[Params, Params]:
        params, frozen = model.init(jax.random.split(random_keys(config.seed)[0])[1], decoder)
        if "reference" in frozen:
            frozen["reference"] = freeze(frozen["reference"], scorer.compute)
        return params, frozen

    placed = tree_sharding(mesh, jax.eval_shape(init, decoder))
    params, frozen = jax.jit(init, out_shardings=placed)(decoder)
    return parts, params, frozen


class OutputTokenDraws:
    """Draws the tokens from which the normalisers of a batch are estimated.

    Args:
        parts: The language model.
        items: Prompts with responses, whose tokens are in every draw.
        count: Number of tokens of a draw; all if there are no more.
        seed: Of the draws.

    Raises:
        ConfigError: The responses alone have as many tokens.
    """

    def __init__(self, parts: LanguageParts, items: Iterable[Items], count: int, seed: int):
        texts = list(dict.fromkeys(response for those in items for _, response in those))
        known = {*parts.model.architecture.end_tokens, int(parts.end_token)}
        known.update(*(tokens.tolist() for tokens in parts.tokenizer.encode(texts)))
        vocabulary = parts.model.architecture.vocabulary
        self._known = np.array(sorted(known), np.int32)
        self._others = np.setdiff1d(np.arange(vocabulary, dtype=np.int32), self._known)
        self._count, self._seed = min(count - len(known), len(self._others)), seed
        if self._count < 1 and len(self._others):
            raise ConfigError(
                f"'scorer.output_tokens' ({count:,}) must be above the number of different tokens in the responses "
                f"({len(known):,}), and better some thousands above it. 0 is for the whole vocabulary."
            )

    def draw(self, batch: int) -> OutputTokens:
        """Returns the tokens of a batch: always the same for the same number."""
        generator = np.random.default_rng((self._seed, batch))
        drawn = generator.choice(self._others, self._count, replace=False)
        return OutputTokens(self._known, drawn)  # type: ignore[arg-type]


def from_scratch(scorer: LanguageModelConfig, tokenizer: TextTokenizer) -> Architecture:
    """Returns the architecture of a Llama decoder with the config's sizes. The MLP has 8/3 of the width."""
    head_width = scorer.width // scorer.heads
    return Architecture(
        family="llama",
        vocabulary=tokenizer.size,
        width=scorer.width,
        mlp_width=-(-8 * scorer.width // 3 // 8) * 8,
        layers=scorer.layers,
        heads=scorer.heads,
        kv_heads=scorer.kv_heads,
        head_width=head_width,
        rope_theta=10_000.0,
        norm_epsilon=1e-5,
        query_scale=head_width**-0.5,
        end_tokens=(tokenizer.structure["<end>"],),
    )


def texts_of(items: Items) -> list[str]:
    """Returns the distinct texts of items, in order: prompts or their messages, and responses."""
    texts: dict[str, None] = {}
    for prompt, response in items:
        for text in [prompt] if isinstance(prompt, str) else [message.content for message in prompt]:
            texts[text] = None
        texts[response] = None
    return list(texts)
