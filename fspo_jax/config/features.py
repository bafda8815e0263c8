"""The config of features: a list of blocks, `[[features]]` in a config file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

from fspo_jax.config.ranges import Count


@dataclass(frozen=True)
class SentenceConfig:
    """The encoder's embedding of the response, which says what it is about."""

    kind: Literal["sentence"] = "sentence"


@dataclass(frozen=True)
class HiddenLayerConfig:
    """The mean hidden state of one encoder layer. Early layers show how a text is worded.

    Attributes:
        layer: Number of the layer, from 1.
    """

    kind: Literal["hidden_layer"] = "hidden_layer"
    layer: Count = 2


@dataclass(frozen=True)
class ApprovalConfig:
    """How much people in general approve of the response: one number, linear in the embedding.

    It is trained together with the encoder's adapters, so it needs adapters: `encoder.adapters` or
    `encoder.adapter_rank`.
    """

    kind: Literal["approval"] = "approval"


@dataclass(frozen=True)
class StyleConfig:
    """Counts of length, formatting, punctuation and wording."""

    kind: Literal["style"] = "style"


FeatureBlockConfig = Union[SentenceConfig, HiddenLayerConfig, ApprovalConfig, StyleConfig]

DEFAULT_FEATURES: tuple[FeatureBlockConfig, ...] = (SentenceConfig(), HiddenLayerConfig(), StyleConfig())
