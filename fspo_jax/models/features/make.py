"""From the config of the encoder and the feature blocks to the featurizer."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from fspo_jax.config import (
    ApprovalConfig,
    AttributesConfig,
    EncoderConfig,
    FeatureBlockConfig,
    HiddenLayerConfig,
    InteractionConfig,
    LogLikelihoodConfig,
    SentenceConfig,
    StyleConfig,
    TrainConfig,
)
from fspo_jax.config.cache import cache_directory
from fspo_jax.config.features import DEFAULT_FEATURES
from fspo_jax.errors import CheckpointError, EncoderError
from fspo_jax.models.encoders.load import load_encoder
from fspo_jax.models.encoders.text_encoder import TextEncoder
from fspo_jax.models.features.absent import AbsentItem, AbsentText, BlockRecord
from fspo_jax.models.features.approval import Approval
from fspo_jax.models.features.attributes import Attributes
from fspo_jax.models.features.contract import EncoderBlock, ItemBlock, TextBlock
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.features.fitted import Fitted
from fspo_jax.models.features.hidden_layer import HiddenLayer
from fspo_jax.models.features.interaction import Interaction
from fspo_jax.models.features.likelihoods import Likelihoods
from fspo_jax.models.features.log_likelihood import LogLikelihood
from fspo_jax.models.features.other_model import OtherModel
from fspo_jax.models.features.sentence import Sentence
from fspo_jax.models.features.style import Style

ADVICE = (
    ' Or do without this block, a little less accurate: PersonalizedReward.load(..., without=["{name}"]), or '
    "--without {name}."
)

READ_RESPONSES = SentenceConfig, HiddenLayerConfig, StyleConfig
"""Blocks of the response alone."""


def make_encoder(config: EncoderConfig, *, allow_download: bool = True) -> TextEncoder:
    """Loads the encoder of `config`, without adapters; raises `EncoderError` as `load_encoder` does."""
    return load_encoder(
        config.model,
        prefix=config.prefix,
        layer=config.layer,
        pooling=config.pooling,
        cache=config.cache or None,
        allow_download=allow_download,
    )


def make_featurizer(
    config: EncoderConfig,
    features: Sequence[FeatureBlockConfig] = DEFAULT_FEATURES,
    *,
    absent: Mapping[str, BlockRecord] | None = None,
    advice: str = "",
    allow_download: bool = True,
) -> Featurizer:
    """Loads the encoder of `config`, opens its cache and makes the blocks of `features`.

    Args:
        config: The encoder, and the directory of the cache.
        features: The blocks.
        absent: Blocks to leave out, which are zero then.
        advice: What else can be done where the model of a block is missing; `{name}` stands for the block.
        allow_download: Whether the encoder may be downloaded from the hub.

    The cache is in `config.cache`, else in `$FSPO_CACHE`, else in `~/.cache/fspo_jax`, else in memory only.

    Raises:
        EncoderError: The weights are missing or damaged, the encoder lacks a layer that a block reads, or the cache's
            directory cannot be written.
    """
    encoder = make_encoder(config, allow_download=allow_download)
    of_encoder: list[EncoderBlock] = []
    of_text: list[TextBlock] = []
    of_item: list[ItemBlock] = []

    def other(block: SentenceConfig | HiddenLayerConfig, layer: int = 0) -> OtherModel:
        its = EncoderConfig(block.model, layer, "mean" if layer else "", cache=config.cache)
        return OtherModel(block.name, make_encoder(its, allow_download=allow_download))

    @functools.cache
    def likelihoods(model: str) -> Likelihoods:
        return Likelihoods(model, cache=config.cache or None, allow_download=allow_download)

    def add(block: FeatureBlockConfig) -> None:
        match block:
            case SentenceConfig(model=""):
                of_encoder.append(Sentence(encoder.dimension))
            case SentenceConfig():
                of_text.append(other(block))
            case HiddenLayerConfig(model=""):
                of_encoder.append(HiddenLayer(encoder.dimension, block.layer))
            case HiddenLayerConfig():
                of_text.append(other(block, block.layer))
            case ApprovalConfig():
                of_encoder.append(Approval(encoder.dimension))
            case StyleConfig():
                of_text.append(Style())
            case LogLikelihoodConfig():
                of_item.append(LogLikelihood(block.name, likelihoods(block.model)))
            case AttributesConfig():
                of_item.append(Attributes(block.name, likelihoods(block.model)))
            case InteractionConfig():
                of_item.append(Interaction())

    for block in features:
        record = (absent or {}).get(block.name)
        try:
            if record is None:
                add(block)
            elif isinstance(block, READ_RESPONSES):
                of_text.append(AbsentText(block.name, record))
            else:
                of_item.append(AbsentItem(block.name, record))
        except EncoderError as error:
            raise EncoderError(f"block '{block.name}': {error}{advice.format(name=block.name)}") from None
    return Featurizer(encoder, of_encoder, of_text, of_item, cache_directory(config.cache))


def restore_featurizer(
    config: TrainConfig,
    adapters: Mapping[str, Any] | None,
    fingerprint: str,
    *,
    fitted: Fitted | None = None,
    absent: Mapping[str, BlockRecord] | None = None,
    allow_download: bool = True,
) -> Featurizer:
    """Makes the featurizer of a trained reward again.

    Args:
        config: The config of its training.
        adapters: The adapters of its encoder, or None.
        fingerprint: Fingerprint of the featurizer in training.
        fitted: What was fitted for its blocks.
        absent: Blocks to leave out.
        allow_download: As in `make_featurizer`.

    Raises:
        CheckpointError: The encoder or the adapters differ from those of training.
        EncoderError: As in `make_featurizer`.
    """
    featurizer = make_featurizer(
        config.encoder,
        config.features,
        absent=absent,
        advice=ADVICE if config.block_dropout else "",
        allow_download=allow_download,
    )
    if adapters:
        featurizer = featurizer.adapted(adapters)
    if fitted:
        featurizer = featurizer.with_fitted(fitted)
    if featurizer.whole_fingerprint != fingerprint:
        raise CheckpointError(
            f"the reward was meta-trained on features {fingerprint}, but encoder '{config.encoder.model}' gives "
            f"{featurizer.whole_fingerprint} here. Use the same encoder weights and the same version of the package."
        )
    return featurizer
