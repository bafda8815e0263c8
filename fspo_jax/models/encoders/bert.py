"""The BERT family: all-MiniLM-L6-v2, BGE, E5, GTE and similar models.

Source: Devlin et al. (2019), BERT, arXiv 1810.04805.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.models.encoders.post_norm import PostNorm
from fspo_jax.models.encoders.sizes import whole_number


class Bert(PostNorm):
    """A network of the BERT family; see `Network`."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Bert:
        """Reads the sizes from a `config.json`; raises `EncoderError` if it is not supported."""
        return cls.of_config(config, types=whole_number(config, "type_vocab_size", 2))
