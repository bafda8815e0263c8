"""The pretrained decoder that a language-model reward begins with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from fspo_jax.errors import ConfigError
from fspo_jax.models.language.decoder.adapters import merge_adapters
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.files import Path_, embedding_rows, flat_params, load_decoder
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.language.decoder.peft import read_peft
from fspo_jax.models.language.lower_layers import MEMORY, LowerLayers
from fspo_jax.models.language.reward_model import COMPUTE, LanguageModel
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.text.chat import ChatFormat
from fspo_jax.text.templates import MARKS
from fspo_jax.text.tokenizer import TextTokenizer

Sharding = Callable[[Path_, tuple[int, ...]], jax.sharding.Sharding]
Tree = Mapping[str, Any]


class Base(NamedTuple):
    """A pretrained decoder on disk.

    Attributes:
        directory: Directory of its checkpoint files.
        adapters: What is merged into it, in this order: directories of adapters, each with the embeddings of structure
            tokens, if it has any.
        architecture: Architecture from its config.
        tokenizer: Its tokenizer.
        digest: Digest of all its files.
        split_layer: Of the language-model reward that it is, if any.
    """

    directory: Path
    adapters: tuple[tuple[Path, Mapping[str, np.ndarray]], ...]
    architecture: Architecture
    tokenizer: TextTokenizer
    digest: str
    split_layer: int = 0


def frozen_type(path: Path_, compute: str) -> Any:
    """Type of a frozen parameter: the compute type for matrices, which are computed in it, and float32 for others."""
    return jnp.float32 if "norm" in "".join(path[-2:]) else COMPUTE[compute]


def load_base(
    base: Base, model: LanguageModel, seed: int, *, frozen: bool, sharding: Sharding | None = None
) -> Tree:
    """Loads the decoder of a base, merges its adapters and adds structure tokens.

    Args:
        seed: Seed of the embeddings of new tokens.
        frozen: Whether to store matrices in the compute type instead of float32.
        sharding: How the parameters are divided over devices.
    """
    raw = _load_raw(base, sharding)
    merged = [(read_peft(directory, base.architecture), marks) for directory, marks in base.adapters]

    def finished(raw: Tree, merged: Sequence[tuple[Tree, Mapping[str, jax.Array]]]) -> Tree:
        decoder = dict(embedding_rows(raw, model.architecture.vocabulary, jax.random.key(seed)))
        if model.marks:
            decoder["marks"] = new_marks(model.architecture.width, jax.random.key(seed))
        for adapters, marks in merged:
            decoder = merge_adapters(decoder, adapters)
            for name, rows in marks.items():
                decoder[name] = decoder[name].at[len(decoder[name]) - len(rows) :].set(rows)
        if first := model.config.split_layer:
            decoder["layers"] = jax.tree.map(lambda leaf: leaf[first:], decoder["layers"])
        return freeze(decoder, model.config.compute) if frozen else decoder

    made = jax.eval_shape(finished, raw, merged)
    placed = (
        {path: sharding(path, leaf.shape) for path, leaf in flat_params(made).items()} if sharding else None
    )
    return jax.jit(finished, out_shardings=placed and unflatten_dict(placed))(raw, merged)


def new_marks(width: int, key: jax.Array) -> jax.Array:
    """Marks as training starts with them, `[M, width]`: opposite ones for what is liked and disliked, else none."""
    liked = jax.random.normal(key, (width,))
    return (
        jnp.zeros((len(MARKS), width))
        .at[MARKS.index("liked")]
        .set(liked)
        .at[MARKS.index("disliked")]
        .set(-liked)
    )


def load_lower_layers(base: Base, layers: int, cache: Path | None, memory: int = MEMORY) -> LowerLayers:
    """Loads the lower layers of a base.

    Args:
        layers: Their number.
        cache: Directory of the cache on disk; None for none.
        memory: Bytes of states in memory.

    Raises:
        ConfigError: The base has no layer above them, or was trained with another number of lower layers.
    """
    total = base.architecture.layers
    if layers >= total:
        raise ConfigError(
            f"'scorer.split_layer' is {layers}, but the base has {total} layers. Set less than {total}."
        )
    if base.split_layer not in (0, layers):
        raise ConfigError(
            f"'scorer.split_layer' is {layers}, but 'scorer.base' was trained with {base.split_layer}. Set the same."
        )
    decoder = _load_raw(base)
    for directory, marks in base.adapters:
        if not base.split_layer or "marks" not in marks:
            decoder = merge_adapters(decoder, read_peft(directory, base.architecture))
    chat = ChatFormat.load(base.directory, base.tokenizer)
    return LowerLayers(base.architecture, layers, decoder, base.tokenizer, chat, cache, memory)


def _load_raw(base: Base, sharding: Sharding | None = None) -> Tree:
    init, _ = pure_module(lambda rngs: Decoder(base.architecture, 0, rngs))
    shapes = jax.eval_shape(init, jax.random.key(0))
    return load_decoder(base.directory, base.architecture, shapes, dtype=np.float32, sharding=sharding)


def freeze(decoder: Tree, compute: str) -> Tree:
    """Casts a decoder to the types of `frozen_type`."""
    flat = flat_params(decoder)
    return unflatten_dict({path: leaf.astype(frozen_type(path, compute)) for path, leaf in flat.items()})
