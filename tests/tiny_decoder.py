"""A tiny random language model in the layout of the hub, made without torch."""

from __future__ import annotations

import json
from pathlib import Path

import jax
from flax import nnx
from tiny_encoder import tokenizer_of

from fspo_jax.models.language.decoder.architecture import Architecture, hugging_face_config
from fspo_jax.models.language.decoder.files import save_decoder
from fspo_jax.models.language.decoder.network import Decoder

LLAMA = Architecture(
    family="llama",
    vocabulary=261,
    width=16,
    mlp_width=32,
    layers=3,
    heads=4,
    kv_heads=2,
    head_width=4,
    rope_theta=10_000.0,
    norm_epsilon=1e-5,
    query_scale=0.5,
    positions=96,
    end_tokens=(2,),
)


def write_decoder(directory: Path, architecture: Architecture = LLAMA) -> Path:
    """Writes it and returns the directory."""
    directory.mkdir(parents=True)
    state = nnx.to_pure_dict(nnx.state(Decoder(architecture, 0, nnx.Rngs(0)), nnx.Param))
    keys = iter(jax.random.split(jax.random.key(1), 100))
    state = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(next(keys), leaf.shape), state)
    save_decoder(directory, architecture, state)
    config = hugging_face_config(architecture) | {"eos_token_id": 2}
    (directory / "config.json").write_text(json.dumps(config))
    tokenizer_of("roberta").save(str(directory / "tokenizer.json"))
    return directory
