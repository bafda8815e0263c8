"""What can be configured of the features: a list of named blocks, `[[features]]` in a config file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

from fspo_jax.config.ranges import Count


@dataclass(frozen=True)
class SentenceConfig:
    """The encoder's embedding of the response: what it is about."""

    kind: Literal["sentence"] = "sentence"


@dataclass(frozen=True)
class HiddenLayerConfig:
    """The mean hidden state of one encoder layer. Early layers tell how a text is worded.

    Attributes:
        layer: 1 is the first layer.
    """

    kind: Literal["hidden_layer"] = "hidden_layer"
    layer: Count = 2


@dataclass(frozen=True)
class ApprovalConfig:
    """One number: a linear reading of the embedding, trained together with the encoder's adapters.

    It tells what people in general approve of. It needs adapters: `encoder.adapters` or `encoder.adapter_rank`.
    """

    kind: Literal["approval"] = "approval"


@dataclass(frozen=True)
class StyleConfig:
    """Counts of length, formatting, punctuation and wording."""

    kind: Literal["style"] = "style"


FeatureBlockConfig = Union[SentenceConfig, HiddenLayerConfig, ApprovalConfig, StyleConfig]

DEFAULT_FEATURES: tuple[FeatureBlockConfig, ...] = (SentenceConfig(), HiddenLayerConfig(), StyleConfig())
