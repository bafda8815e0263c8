"""Language models on disk: bases to train from, and exported rewards.

<reward>/config.json, model.safetensors   as for every reward; the second has everything except the decoder
<reward>/decoder/                          a checkpoint that transformers reads, or
<reward>/adapters/                         adapters in the format of PEFT, for the base of the config
<reward>/reference/                        the reference of the implicit reward, if it is not the base
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fspo_jax.checkpoints.rewards import (
    REWARD,
    open_base,
    read_stored,
    write_reward,
)
from fspo_jax.config import LanguageModelConfig, TrainConfig
from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.base import Base
from fspo_jax.models.language.decoder.architecture import hugging_face_config, read_architecture
from fspo_jax.models.language.decoder.files import INDEX, WEIGHTS, save_decoder
from fspo_jax.models.language.decoder.peft import PEFT_CONFIG, read_peft_config, save_adapters
from fspo_jax.models.language.decoder.quantization import is_quantized
from fspo_jax.models.language.parts import LanguageParts
from fspo_jax.models.pretrained.locate import find_model
from fspo_jax.models.scorers.contract import Params
from fspo_jax.shipped import find_reward, reward_names
from fspo_jax.text.tokenizer import TextTokenizer

DECODER, ADAPTERS, REFERENCE = "decoder", "adapters", "reference"


def read_base(
    source: str | Path,
    *,
    cache: str | Path | None = None,
    allow_download: bool = False,
    above: tuple[Path, ...] = (),
) -> Base:
    """Reads the base that `scorer.base` names: a trained language-model reward, such as fspo-lm, or what `find_model`
    takes.

    A directory of PEFT is merged into the base that it names itself.

    Args:
        source: Directory, GGUF file, name or hub id.
        cache: Directory in which `find_model` keeps models; None for the user's.
        allow_download: Whether the hub may be asked.
        above: Directories of adapters that have this base.

    Raises:
        CheckpointError: It is none of these, or it is its own base.
    """
    named = source in reward_names() and not Path(source).exists()
    path = find_reward(source) if named else find_model(source, cache=cache, allow_download=allow_download)
    reward = path / REWARD if (path / REWARD).is_dir() else path
    if (above := (*above, reward.resolve())).count(reward.resolve()) > 1:
        raise CheckpointError(f"{source}: is its own base.")
    if (path / PEFT_CONFIG).is_file() and not any((path / name).is_file() for name in (WEIGHTS, INDEX)):
        name = read_peft_config(path).get("base_model_name_or_path")
        try:
            base = read_base(str(name or ""), cache=cache, allow_download=allow_download, above=above)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} This is the base of {path}. If it is elsewhere, change base_model_name_or_path in its "
                f"{PEFT_CONFIG}."
            ) from None
        return base._replace(adapters=(*base.adapters, (path, {})), digest=base.digest + files_digest(path))
    if (reward / ADAPTERS).is_dir():
        _, params, metadata = read_stored(reward)
        if not isinstance(metadata.config.scorer, LanguageModelConfig):
            raise CheckpointError(f"{source}: has adapters, but is no reward of a language model.")
        base = open_base(
            metadata,
            "",
            lambda place: read_base(place, cache=cache, allow_download=allow_download, above=above),
        )
        return base._replace(
            adapters=(*base.adapters, (reward / ADAPTERS, params.get("marks", {}))),
            digest=base.digest + files_digest(reward / ADAPTERS),
            split_layer=metadata.config.scorer.split_layer,
        )
    directory = reward / DECODER if (reward / DECODER).is_dir() else path
    return Base(
        directory,
        (),
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
            scorer = model.config
            adapters = rest.pop("adapters")
            save_adapters(fresh / ADAPTERS, model.architecture, adapters, scorer.base, scorer.split_layer)
        else:
            _write_decoder(fresh / DECODER, parts, rest.pop("decoder"))
        if "reference" in frozen:
            _write_decoder(fresh / REFERENCE, parts, frozen["reference"])
        return rest

    write_reward(
        directory,
        params,
        config,
        featurizer_fingerprint=parts.fingerprint,
        validation=validation,
        write_parts=write_parts,
        temperature=temperature,
    )


def _write_decoder(path: Path, parts: LanguageParts, decoder: Mapping[str, Any]) -> None:
    save_decoder(path, parts.model.architecture, decoder)
    text = json.dumps(hugging_face_config(parts.model.architecture), indent=1)
    (path / "config.json").write_text(text, encoding="utf-8")
    parts.tokenizer.save(path)
