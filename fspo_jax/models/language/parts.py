"""The parts of a language-model reward, made from its config."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.errors import ConfigError
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.lower_layers import LowerLayers
from fspo_jax.models.language.reward_model import LanguageModel
from fspo_jax.text.templates import Template, make_template, split_template
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.types import PackedRows, ReadTexts, RowFormat


@dataclass(frozen=True)
class LanguageParts:
    """All parts of a language-model reward except its parameters.

    Attributes:
        model: The model, as pure functions.
        tokenizer: Turns texts into tokens.
        template: Turns pairs into tokens.
        form: Layout and size of rows.
        fingerprint: Digest of tokenizer and base.
        lower: The lower layers, if the model is split.
    """

    model: LanguageModel
    tokenizer: TextTokenizer
    template: Template
    form: RowFormat
    fingerprint: str
    lower: LowerLayers | None = None

    def reading(self) -> AbstractContextManager[None]:
        """Within this block the template's tokens can be read; later their places may hold other texts."""
        return self.lower.reading() if self.lower else nullcontext()

    def read(self, tokens: np.ndarray) -> np.ndarray | ReadTexts:
        """Returns what the model reads of the template's tokens, of any shape."""
        return self.lower.read(tokens) if self.lower else tokens

    def prepare(self, arrays: Sequence[np.ndarray]) -> None:
        """Makes ready what `read` will return of several arrays of tokens: texts that are new are read in one batch."""
        if self.lower:
            self.lower.prepare(arrays)

    def read_rows(self, rows: PackedRows) -> PackedRows:
        """Returns rows of the template's tokens as the model reads them."""
        if self.lower is None:
            return rows
        return rows._replace(tokens=self.read(rows.tokens), targets=self.lower.vocabulary(rows.targets))

    @property
    def end_token(self) -> int:
        """The token with which a response ends."""
        return self.lower.end if self.lower else int(self.template.response("", "")[-1])

    @property
    def blocks(self) -> dict[str, int]:
        """The hidden states, as a block of features."""
        return {"hidden_state": self.model.architecture.width}

    @property
    def dimension(self) -> int:
        """Width of the hidden states."""
        return self.model.architecture.width


def make_parts(
    config: TrainConfig,
    architecture: Architecture,
    tokenizer: TextTokenizer,
    *,
    base_digest: str = "",
    rows: int = 1,
    remember: int = 0,
    lower: LowerLayers | None = None,
) -> LanguageParts:
    """Makes the parts of a language-model reward.

    Args:
        config: A config whose `scorer` is a `LanguageModelConfig`.
        architecture: Architecture of the whole decoder. The vocabulary is extended if structure tokens need more room.
        tokenizer: Tokenizer of the decoder.
        base_digest: Digest of the base that was trained from.
        rows: See `RowFormat`.
        remember: See `make_template`.
        lower: The lower layers, for `scorer.split_layer`.
    """
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    structured = scorer.template == "structured" and lower is None
    if structured:
        architecture = replace(architecture, vocabulary=max(architecture.vocabulary, tokenizer.size))
    elif tokenizer.rows > architecture.vocabulary:
        raise ConfigError(
            f"'scorer.base': texts can contain {tokenizer.rows:,} tokens, the model has {architecture.vocabulary:,}."
        )
    scaling = architecture.rope_scaling
    if scaling is not None and scaling.kind == "dynamic" and scorer.row_length > architecture.positions:
        raise ConfigError(
            f"'scorer.row_length' is {scorer.row_length:,}, but the base has dynamic rotary scaling, so a score in "
            f"a row of more than {architecture.positions:,} tokens would depend on its neighbours. Set at most "
            f"{architecture.positions:,}."
        )
    model = LanguageModel(
        scorer,
        architecture.upper(scorer.split_layer),
        tokenizer.text_tokens if structured else architecture.vocabulary,
        scorer.reward == "implicit" and config.objective != "sft" and not scorer.lora_rank,
    )
    return LanguageParts(
        model,
        tokenizer,
        split_template(
            lower.first,
            lower.places,
            pool=scorer.pool,
            asked=1 if scorer.reward == "implicit" else scorer.pool,
        )
        if lower
        else make_template(scorer.template, tokenizer, architecture.end_tokens[0], remember=remember),
        RowFormat(scorer.row_length, scorer.layout, scorer.shot_span, rows, context=scorer.context_length),
        f"{tokenizer.fingerprint}-{base_digest}",
        lower,
    )
