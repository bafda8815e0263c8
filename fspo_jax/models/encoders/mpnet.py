"""The MPNet family: all-mpnet-base-v2 and similar models.

Source: Song et al. (2020), MPNet, arXiv 2004.09297.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.post_norm import DISTANCE_BUCKETS, PostNorm

PADDING = 1
"""Token id of padding. The family does not read it from the config."""


class Mpnet(PostNorm):
    """A network of the MPNet family: attention also depends on the distance between tokens; no token types."""

    attention = ("attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o")
    attention_norm = "attention.LayerNorm"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Mpnet:
        """Reads the sizes from a `config.json`; raises `EncoderError` if it is not supported."""
        buckets = config.get("relative_attention_num_buckets", DISTANCE_BUCKETS)
        if buckets != DISTANCE_BUCKETS:
            raise EncoderError(
                f"relative_attention_num_buckets {buckets} is not supported. Supported: {DISTANCE_BUCKETS}."
            )
        return cls.of_config(config, types=0, padding=PADDING, relative=True)
