"""From the config of the encoder and the feature blocks to the featurizer."""

from __future__ import annotations

from collections.abc import Sequence

from fspo_jax.config import (
    ApprovalConfig,
    EncoderConfig,
    FeatureBlockConfig,
    HiddenLayerConfig,
    SentenceConfig,
    StyleConfig,
)
from fspo_jax.config.cache import cache_directory
from fspo_jax.config.features import DEFAULT_FEATURES
from fspo_jax.models.encoders.load import load_encoder
from fspo_jax.models.features.approval import Approval
from fspo_jax.models.features.contract import EncoderBlock, TextBlock
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.features.hidden_layer import HiddenLayer
from fspo_jax.models.features.sentence import Sentence
from fspo_jax.models.features.style import Style


def make_featurizer(
    config: EncoderConfig, features: Sequence[FeatureBlockConfig] = DEFAULT_FEATURES
) -> Featurizer:
    """Loads the encoder of `config`, opens its cache and makes the blocks of `features`.

    The cache is in `config.cache`, else in `$FSPO_CACHE`, else in `~/.cache/fspo_jax`, else in memory only.

    Raises:
        EncoderError: The weights are missing or damaged, the encoder lacks a layer that a block reads, or the cache's
            directory cannot be written.
    """
    encoder = load_encoder(config.model, prefix=config.prefix)
    of_encoder: list[EncoderBlock] = []
    of_text: list[TextBlock] = []
    for block in features:
        match block:
            case SentenceConfig():
                of_encoder.append(Sentence(encoder.dimension))
            case HiddenLayerConfig():
                of_encoder.append(HiddenLayer(encoder.dimension, block.layer))
            case ApprovalConfig():
                of_encoder.append(Approval(encoder.dimension))
            case StyleConfig():
                of_text.append(Style())
    return Featurizer(encoder, of_encoder, of_text, cache_directory(config.cache))
