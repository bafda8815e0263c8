"""Reads an exported reward of a language model, finds its base, and puts them together."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp

from fspo_jax.checkpoints import RewardMetadata
from fspo_jax.checkpoints.files import shape_faults
from fspo_jax.checkpoints.language import ADAPTERS, DECODER, REFERENCE, read_base
from fspo_jax.checkpoints.rewards import check_fingerprint, open_base, read_stored
from fspo_jax.config import LanguageModelConfig
from fspo_jax.config.cache import cache_directory
from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.base import Base, load_base, load_lower_layers
from fspo_jax.models.language.decoder.adapters import adapter_shapes
from fspo_jax.models.language.decoder.peft import load_adapters
from fspo_jax.models.language.decoder.quantization import quantize_decoder
from fspo_jax.models.language.parts import LanguageParts, make_parts
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.load import Origin

REMEMBERED_TEXTS = 1 << 14
"""Number of texts whose tokens serving keeps in memory."""

Weights = Literal["float", "int8"]


def load_language_reward(
    origin: Origin, weights: Weights = "float"
) -> tuple[LanguageParts, Params, Params, RewardMetadata]:
    """Loads a reward of a language model.

    Args:
        origin: Where it is.
        weights: `int8` stores the matrices of decoders as int8, for serving only.

    Returns:
        Parts, trained and frozen parameters, metadata.

    Raises:
        CheckpointError: As in `read_reward`, or the base differs from that of training.
    """
    directory, params, metadata = read_stored(origin.path)
    config = metadata.config
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    if origin.without:
        raise CheckpointError(
            f"{origin.path}: is a language model and has no block '{origin.without[0]}' to leave out. Load it without "
            "'without'."
        )
    digest = metadata.featurizer_fingerprint.partition("-")[2]
    adapted = (directory / ADAPTERS).is_dir()

    def checked(place: str) -> tuple[str, Base]:
        base = read_base(place, cache=origin.cache or None, allow_download=origin.allow_download)
        if base.digest != digest:
            raise CheckpointError(
                f"{origin.path}: was meta-trained over a base with digest {digest}, but '{place}' has {base.digest}. "
                "Restore the base model used in training."
            )
        return place, base

    if adapted:
        place, base = open_base(metadata, origin.base, checked)
        config = replace(config, scorer=replace(scorer, base=place))
    else:
        base = read_base(directory / DECODER)
    lower = None
    if scorer.split_layer:
        lower = load_lower_layers(base, scorer.split_layer, cache_directory(origin.cache))
    parts = make_parts(
        config,
        base.architecture,
        base.tokenizer,
        base_digest=digest,
        remember=REMEMBERED_TEXTS,
        lower=lower,
    )
    if parts.fingerprint != metadata.featurizer_fingerprint:
        raise CheckpointError(f"{origin.path}: its tokenizer is not that of training. Take another copy.")
    frozen: Params = {}
    decoder = load_base(base, parts.model, config.seed, frozen=adapted)
    if adapted:
        shapes = adapter_shapes(parts.model.architecture, scorer.lora_rank)
        params["adapters"] = load_adapters(
            directory / ADAPTERS, base.architecture, shapes, scorer.split_layer
        )
        frozen["decoder"] = decoder
    else:
        params["decoder"] = decoder
    if parts.model.reference:
        frozen["reference"] = load_base(
            read_base(directory / REFERENCE), parts.model, config.seed, frozen=True
        )
    expected, _ = jax.eval_shape(parts.model.init, jax.random.key(0), decoder)
    if faults := shape_faults(params, expected):
        raise CheckpointError(
            f"{directory}: the parameters do not fit its config: {'; '.join(faults[:5])}. Take another copy."
        )
    check_fingerprint(directory, jax.device_get(params), metadata)
    params = jax.tree.map(jnp.asarray, params)
    if weights == "int8":
        for tree in (params, frozen):
            tree |= {
                name: quantize_decoder(leaf) for name, leaf in tree.items() if name in (DECODER, REFERENCE)
            }
    return parts, params, frozen, replace(metadata, config=config)
