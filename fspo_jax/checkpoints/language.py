"""Language models on disk: bases to train from, and exported rewards.

<reward>/config.json, model.safetensors   as for every reward; the second has everything except the decoder
<reward>/decoder/                          a checkpoint that transformers reads, or
<reward>/adapters/                         adapters in the format of PEFT, for the base of the config
<reward>/reference/                        the reference of the implicit reward, if it is not the base
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from fspo_jax.checkpoints.rewards import (
    REWARD,
    RewardMetadata,
    check_fingerprint,
    read_stored,
    write_reward,
)
from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.data.packing import RowFormat
from fspo_jax.errors import CheckpointError, ConfigError
from fspo_jax.models.language.decoder.adapters import (
    adapter_shapes,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from fspo_jax.models.language.decoder.architecture import Architecture, hugging_face_config, read_architecture
from fspo_jax.models.language.decoder.files import (
    Path_,
    embedding_rows,
    flat_params,
    load_decoder,
    save_decoder,
)
from fspo_jax.models.language.decoder.quantization import is_quantized, quantize_decoder
from fspo_jax.models.language.reward_model import COMPUTE, LanguageModel
from fspo_jax.models.pretrained.locate import find_model
from fspo_jax.models.scorers.contract import Params
from fspo_jax.text.templates import Template, make_template
from fspo_jax.text.tokenizer import TextTokenizer

REMEMBERED_TEXTS = 1 << 14
"""Number of texts whose tokens serving keeps in memory."""

DECODER, ADAPTERS, REFERENCE = "decoder", "adapters", "reference"

Weights = Literal["float", "int8"]
Sharding = Callable[[Path_, tuple[int, ...]], jax.sharding.Sharding]
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class LanguageParts:
    """All parts of a language-model reward except its parameters.

    Attributes:
        model: The model, as pure functions.
        tokenizer: Turns texts into tokens.
        template: Turns pairs into tokens.
        form: Layout and size of rows.
        fingerprint: Digest of tokenizer and base.
    """

    model: LanguageModel
    tokenizer: TextTokenizer
    template: Template
    form: RowFormat
    fingerprint: str

    @property
    def blocks(self) -> dict[str, int]:
        """The hidden states, as a block of features."""
        return {"hidden_state": self.model.architecture.width}

    @property
    def dimension(self) -> int:
        """Width of the hidden states."""
        return self.model.architecture.width


class Base(NamedTuple):
    """A pretrained decoder on disk.

    Attributes:
        directory: Directory of its checkpoint files.
        adapters: If it is a run with adapters: their directory, their rank and the embeddings of structure tokens. Else
            None.
        architecture: Architecture from its config.
        tokenizer: Its tokenizer.
        digest: Digest of all its files.
    """

    directory: Path
    adapters: tuple[Path, int, Mapping[str, np.ndarray]] | None
    architecture: Architecture
    tokenizer: TextTokenizer
    digest: str


def read_base(source: str | Path, *, cache: str | Path | None = None, allow_download: bool = False) -> Base:
    """Reads the base that `scorer.base` names: a trained language-model reward, or what `find_model` takes.

    Args:
        source: Directory, GGUF file, name or hub id.
        cache: Directory in which `find_model` keeps models; None for the user's.
        allow_download: Whether the hub may be asked.

    Raises:
        CheckpointError: It is none of these.
    """
    path = find_model(source, cache=cache, allow_download=allow_download)
    reward = path / REWARD if (path / REWARD).is_dir() else path
    if (reward / ADAPTERS).is_dir():
        _, tensors, metadata = read_stored(reward)
        scorer = metadata.config.scorer
        assert isinstance(scorer, LanguageModelConfig)
        base = read_base(scorer.base, cache=cache, allow_download=allow_download)
        marks = {name.removeprefix("marks/"): leaf for name, leaf in tensors.items() if "marks/" in name}
        return base._replace(
            adapters=(reward / ADAPTERS, scorer.lora_rank, marks),
            digest=base.digest + files_digest(reward / ADAPTERS),
        )
    directory = reward / DECODER if (reward / DECODER).is_dir() else path
    return Base(
        directory,
        None,
        read_architecture(directory),
        TextTokenizer.load(directory),
        files_digest(directory),
    )


def files_digest(directory: Path) -> str:
    """Digest of the names and bytes of a checkpoint's files."""
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in (".safetensors", ".json"):
            digest.update(path.name.encode())
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def make_parts(
    config: TrainConfig,
    architecture: Architecture,
    tokenizer: TextTokenizer,
    *,
    base_digest: str = "",
    rows: int = 1,
    remember: int = 0,
) -> LanguageParts:
    """Makes the parts of a language-model reward.

    Args:
        config: A config whose `scorer` is a `LanguageModelConfig`.
        architecture: Architecture of the decoder. The vocabulary is extended if structure tokens need more room.
        tokenizer: Tokenizer of the decoder.
        base_digest: Digest of the base that was trained from.
        rows: See `RowFormat`.
        remember: See `make_template`.
    """
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    structured = scorer.template == "structured"
    if structured:
        architecture = replace(architecture, vocabulary=max(architecture.vocabulary, tokenizer.size))
    elif tokenizer.text_tokens > architecture.vocabulary:
        raise ConfigError(
            f"'scorer.base': the tokenizer has {tokenizer.text_tokens:,} tokens, the model {architecture.vocabulary:,}."
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
        architecture,
        tokenizer.text_tokens if structured else architecture.vocabulary,
        scorer.reward == "implicit" and config.objective != "sft" and not scorer.lora_rank,
    )
    return LanguageParts(
        model,
        tokenizer,
        make_template(scorer.template, tokenizer, architecture.end_tokens[0], remember=remember),
        RowFormat(scorer.row_length, scorer.layout, scorer.shot_span, rows),
        f"{tokenizer.fingerprint}-{base_digest}",
    )


def frozen_type(path: Path_, compute: str) -> Any:
    """Type of a frozen parameter: the compute type for matrices, which are computed in it, and float32 for others."""
    return jnp.float32 if "norm" in "".join(path[-2:]) else COMPUTE[compute]


def read_decoder(
    base: Base, model: LanguageModel, seed: int, *, frozen: bool, sharding: Sharding | None = None
) -> Tree:
    """Loads the decoder of a base, merges its adapters and adds structure tokens.

    Args:
        seed: Seed of the embeddings of new tokens.
        frozen: Whether to store matrices in the compute type instead of float32.
        sharding: How the parameters are divided over devices.
    """
    shapes = jax.eval_shape(replace(model, architecture=base.architecture).init_decoder, jax.random.key(0))
    raw: Tree = load_decoder(base.directory, base.architecture, shapes, dtype=np.float32, sharding=sharding)
    adapters = None
    marks: Mapping[str, np.ndarray] = {}
    if base.adapters:
        directory, rank, marks = base.adapters
        adapters = load_adapters(directory, base.architecture, adapter_shapes(base.architecture, rank))

    def finished(raw: Tree, adapters: Tree | None, marks: Mapping[str, jax.Array]) -> Tree:
        decoder = dict(embedding_rows(raw, model.architecture.vocabulary, jax.random.key(seed)))
        if adapters is not None:
            decoder = merge_adapters(decoder, adapters)
        for name, rows in marks.items():
            decoder[name] = decoder[name].at[len(decoder[name]) - len(rows) :].set(rows)
        return freeze(decoder, model.config.compute) if frozen else decoder

    made = jax.eval_shape(finished, raw, adapters, marks)
    placed = (
        {path: sharding(path, leaf.shape) for path, leaf in flat_params(made).items()} if sharding else None
    )
    return jax.jit(finished, out_shardings=placed and unflatten_dict(placed))(raw, adapters, marks)


def freeze(decoder: Tree, compute: str) -> Tree:
    """Casts a decoder to the types of `frozen_type`."""
    flat = flat_params(decoder)
    return unflatten_dict({path: leaf.astype(frozen_type(path, compute)) for path, leaf in flat.items()})


def write_language_reward(
    directory: str | Path,
    parts: LanguageParts,
    params: Params,
    frozen: Params,
    config: TrainConfig,
    validation: Mapping[str, float] | None = None,
    temperature: float = 1.0,
) -> None:
    """Writes an exported reward: all of it or nothing; raises `CheckpointError` like `write_reward`."""
    model = parts.model
    if any(is_quantized(tree[DECODER]) for tree in (params, frozen) if DECODER in tree):
        raise CheckpointError(
            "int8 weights cannot be saved. Load the reward with weights='float' to save it."
        )

    def write_parts(fresh: Path, params: Params) -> Params:
        rest = dict(params)
        if "adapters" in rest:
            save_adapters(fresh / ADAPTERS, model.architecture, rest.pop("adapters"), model.config.base)
        else:
            _write_decoder(fresh / DECODER, parts, rest.pop("decoder"))
        if "reference" in frozen:
            _write_decoder(fresh / REFERENCE, parts, frozen["reference"])
        return rest

    write_reward(
        directory,
        params,
        config,
        featurizer=parts,
        validation=validation,
        write_parts=write_parts,
        temperature=temperature,
    )


def _write_decoder(path: Path, parts: LanguageParts, decoder: Tree) -> None:
    save_decoder(path, parts.model.architecture, decoder)
    text = json.dumps(hugging_face_config(parts.model.architecture), indent=1)
    (path / "config.json").write_text(text, encoding="utf-8")
    parts.tokenizer.save(path)


def read_language_reward(
    path: str | Path, *, weights: Weights = "float"
) -> tuple[LanguageParts, Params, Params, RewardMetadata]:
    """Reads an exported reward of a language model.

    Args:
        path: The directory of the reward or of its run.
        weights: `int8` stores the matrices of decoders as int8, for serving only.

    Returns:
        Parts, trained and frozen parameters, metadata.

    Raises:
        CheckpointError: As in `read_reward`, or the base differs from that of training.
    """
    directory, tensors, metadata = read_stored(path)
    config = metadata.config
    scorer = config.scorer
    assert isinstance(scorer, LanguageModelConfig)
    adapted = (directory / ADAPTERS).is_dir()
    base = read_base(scorer.base if adapted else directory / DECODER)
    digest = metadata.featurizer_fingerprint.partition("-")[2]
    if adapted and base.digest != digest:
        raise CheckpointError(
            f"{path}: was meta-trained over a base with digest {digest}, but '{scorer.base}' has {base.digest}. "
            "Restore the base model used in training."
        )
    parts = make_parts(
        config, base.architecture, base.tokenizer, base_digest=digest, remember=REMEMBERED_TEXTS
    )
    model = parts.model
    params: Params = unflatten_dict({tuple(name.split("/")): tensor for name, tensor in tensors.items()})
    frozen: Params = {}
    decoder = read_decoder(base, model, config.seed, frozen=adapted)
    if adapted:
        params["adapters"] = load_adapters(
            directory / ADAPTERS, model.architecture, adapter_shapes(model.architecture, scorer.lora_rank)
        )
        frozen["decoder"] = decoder
    else:
        params["decoder"] = decoder
    if model.reference:
        reference = read_base(directory / REFERENCE)
        frozen["reference"] = read_decoder(reference, model, config.seed, frozen=True)
    check_fingerprint(directory, jax.device_get(params), metadata)
    params = jax.tree.map(jnp.asarray, params)
    if weights == "int8":
        for tree in (params, frozen):
            tree |= {
                name: quantize_decoder(leaf) for name, leaf in tree.items() if name in (DECODER, REFERENCE)
            }
    return parts, params, frozen, metadata
