"""The config of features: a list of blocks, `[[features]]` in a config file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal, Union

from fspo_jax.config.ranges import Count, CountFromZero

LANGUAGE_MODEL = "smollm2-135m"
"""The language model of blocks that need one."""


@dataclass(frozen=True)
class SentenceConfig:
    """The embedding of the response, which says what it is about.

    Attributes:
        model: Another model than `encoder.model`, named as there; empty for the run's encoder with its adapters. The
            block is then named after it, `sentence_all-mpnet-base-v2`. Each block of another model is a pass of its
            own, with a cache of its own.
        directions: Number of principal directions that stand for the block; 0 for all of its columns. They are fitted
            on the texts of meta-training. Fewer columns make serving faster.
        standardize: Whether each column is scaled to unit variance among the responses to a prompt, before its
            directions are found. Fitted on the same texts, and stored with the reward.
    """

    kind: Literal["sentence"] = "sentence"
    model: str = ""
    directions: CountFromZero = 0
    standardize: bool = False

    @property
    def name(self) -> str:
        """Name of the block."""
        return _named(self.kind, self.model)


@dataclass(frozen=True)
class HiddenLayerConfig:
    """The mean hidden state of one encoder layer. Early layers show how a text is worded.

    Attributes:
        layer: Number of the layer, from 1.
        model: As in `SentenceConfig`. Later layers of that model are not computed. The columns of a language model
            have very different sizes: set `standardize`.
        directions: As in `SentenceConfig`.
        standardize: As in `SentenceConfig`.
    """

    kind: Literal["hidden_layer"] = "hidden_layer"
    layer: Count = 2
    model: str = ""
    directions: CountFromZero = 0
    standardize: bool = False

    @property
    def name(self) -> str:
        """Name of the block."""
        return _named(f"{self.kind}_{self.layer}", self.model)


@dataclass(frozen=True)
class ApprovalConfig:
    """How much people in general approve of the response: one number, linear in the embedding.

    It is trained together with the encoder's adapters, so it needs adapters: `encoder.adapters` or
    `encoder.adapter_rank`.
    """

    kind: Literal["approval"] = "approval"

    @property
    def name(self) -> str:
        """Name of the block."""
        return self.kind


@dataclass(frozen=True)
class StyleConfig:
    """Counts of length, formatting, punctuation and wording."""

    kind: Literal["style"] = "style"

    @property
    def name(self) -> str:
        """Name of the block."""
        return self.kind


@dataclass(frozen=True)
class LogLikelihoodConfig:
    """How likely the response is as the answer of a language model to the prompt, and how much the prompt explains.

    Two columns in nats per token, of the first 256 tokens of the response. A language model of 135 million weights
    reads about a thousand tokens a second on two cores, so encode many texts ahead of time: `fspo encode`.

    Attributes:
        model: A language model, named as in `encoder.model`, with a chat format of its own.
    """

    kind: Literal["log_likelihood"] = "log_likelihood"
    model: str = LANGUAGE_MODEL

    @property
    def name(self) -> str:
        """Name of the block."""
        return _named(self.kind, self.model if self.model != LANGUAGE_MODEL else "")


@dataclass(frozen=True)
class AttributesConfig:
    """Twenty named qualities of the response, such as `brief`, `warm` or `technical`, as a language model sees them.

    How much more likely the response is when the prompt asks for the quality, in nats per token, of the first 64 tokens
    of the response. It costs 21 passes of the language model, so encode many texts ahead of time.

    Attributes:
        model: As in `LogLikelihoodConfig`.
    """

    kind: Literal["attributes"] = "attributes"
    model: str = LANGUAGE_MODEL

    @property
    def name(self) -> str:
        """Name of the block."""
        return _named(self.kind, self.model if self.model != LANGUAGE_MODEL else "")


@dataclass(frozen=True)
class InteractionConfig:
    """What a response has to do with its prompt, and penalties of what is off-topic or no answer at all.

    It reads the run's encoder without adapters. A `three_level_gp` takes it into the reward of everyone only.
    """

    kind: Literal["interaction"] = "interaction"

    @property
    def name(self) -> str:
        """Name of the block."""
        return self.kind


FeatureBlockConfig = Union[
    SentenceConfig,
    HiddenLayerConfig,
    ApprovalConfig,
    StyleConfig,
    LogLikelihoodConfig,
    AttributesConfig,
    InteractionConfig,
]

DEFAULT_FEATURES: tuple[FeatureBlockConfig, ...] = (SentenceConfig(), HiddenLayerConfig(), StyleConfig())


WideConfig = SentenceConfig | HiddenLayerConfig
"""Blocks of many columns, for which scales and directions may be fitted."""


def fits_features(features: Sequence[FeatureBlockConfig]) -> bool:
    """Whether something is fitted for the features before a scorer is trained."""
    return any(
        isinstance(block, WideConfig) and (block.standardize or block.directions) for block in features
    )


def without_fitted(block: FeatureBlockConfig) -> FeatureBlockConfig:
    """The same block with its columns as they are."""
    return replace(block, directions=0, standardize=False) if isinstance(block, WideConfig) else block


def _named(kind: str, model: str) -> str:
    return f"{kind}_{PurePath(model).name}" if model else kind
