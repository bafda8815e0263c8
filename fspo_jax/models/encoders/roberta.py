"""The RoBERTa family: XLM-RoBERTa, multilingual E5, BGE-M3 and similar models.

Source: Liu et al. (2019), RoBERTa, arXiv 1907.11692; Conneau et al. (2020), XLM-R, arXiv 1911.02116.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.models.encoders.post_norm import PostNorm
from fspo_jax.models.encoders.sizes import whole_number


class Roberta(PostNorm):
    """A network of the RoBERTa family: BERT with positions that are counted from the padding token's id."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Roberta:
        """Reads the sizes from a `config.json`; raises `EncoderError` if it is not supported."""
        return cls.of_config(
            config,
            types=whole_number(config, "type_vocab_size", 2),
            padding=whole_number(config, "pad_token_id", 1, least=0),
        )
