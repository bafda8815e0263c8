"""Reads what sentence-transformers stores beside a network: modules, pooling, limit, case and prompts.

Whatever would change an embedding and is not computed here is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.files import read_json, read_table
from fspo_jax.models.encoders.pooling import Kind, Pooling

FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Flags of older versions, and the modes of today."""

KINDS: Mapping[str, Kind] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}

TRANSFORMER_KEYS = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "text": {"method": "forward", "method_output_name": "last_hidden_state"},
}
"""Keys of `sentence_bert_config.json` that have one supported value. `text` is a key of its `modality_config`."""


@dataclass(frozen=True)
class SentenceFiles:
    """How a network becomes a sentence encoder.

    Attributes:
        network: Directory with the files of the network.
        pooling: Pools token vectors into one vector.
        limit: Largest number of tokens, or None.
        lowercase: Whether to turn texts into lower case.
        prefix: Put before every text.
    """

    network: Path
    pooling: Pooling
    limit: int | None
    lowercase: bool
    prefix: str


def read_sentence_files(directory: Path, prefix: str) -> SentenceFiles:
    """Reads the files. A model without them is pooled by the mean and not normalised.

    Args:
        directory: Of the model.
        prefix: Put before every text; empty for the model's default prompt, if it has one.

    Raises:
        EncoderError: A file is missing or damaged, or has a setting that is not supported.
    """
    network, pooling = directory, Pooling("mean", False)
    include_prompt = True
    if (directory / "modules.json").is_file():
        modules = _modules(directory)
        network = directory / modules["Transformer"]
        kind, include_prompt = _read_pooling(directory / modules["Pooling"] / "config.json")
        pooling = Pooling(kind, "Normalize" in modules)
    prefix = prefix or _default_prompt(directory / "config_sentence_transformers.json")
    if prefix and not include_prompt:
        raise EncoderError(
            f"{directory}: pooling without the prompt (include_prompt false) is not supported."
        )
    limit, lowercase = _read_transformer(network)
    return SentenceFiles(network, pooling, limit, lowercase, prefix)


def _modules(directory: Path) -> dict[str, str]:
    """Returns the path of each module by its name."""
    path = directory / "modules.json"
    modules = {}
    listed = read_json(path)
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise EncoderError(f"{path} must hold a list of JSON objects.")
    for module in listed:
        kind = str(module.get("type", ""))
        name, folder = kind.rsplit(".", 1)[-1], Path(str(module.get("path", "")))
        known = kind.startswith("sentence_transformers.") and name in ("Transformer", "Pooling", "Normalize")
        if not known or name in modules:
            raise EncoderError(
                f"{path}: sentence-transformers module '{kind}' is not supported here. Supported: one each of "
                "Transformer, Pooling, Normalize."
            )
        if folder.is_absolute() or ".." in folder.parts:
            raise EncoderError(f"{path}: the path '{folder}' leads out of the model's directory.")
        modules[name] = str(folder)
    if list(modules)[:2] != ["Transformer", "Pooling"]:
        raise EncoderError(f"{path}: the first two modules must be Transformer and Pooling.")
    return modules


def _read_pooling(path: Path) -> tuple[Kind, bool]:
    """Returns the kind of pooling, and whether it includes the prompt."""
    config = read_table(path)
    mode = config.get(
        "pooling_mode", [FLAGS.get(key, key) for key, on in config.items() if _is_flag(key) and on]
    )
    modes = [mode] if isinstance(mode, str) else list(mode) or ["mean"]
    known = {"pooling_mode", "word_embedding_dimension", "embedding_dimension", "include_prompt"}
    unknown = [key for key, value in config.items() if value and key not in known and not _is_flag(key)]
    if len(modes) != 1 or modes[0] not in KINDS or unknown:
        raise EncoderError(
            f"{path}: pooling {', '.join([*map(str, modes), *unknown])} is not supported. Supported: one of "
            f"{', '.join(KINDS)}."
        )
    return KINDS[modes[0]], config.get("include_prompt", True) is not False


def _is_flag(key: str) -> bool:
    return key.startswith("pooling_mode_")


def _read_transformer(directory: Path) -> tuple[int | None, bool]:
    """Returns the limit of tokens and whether to turn texts into lower case."""
    path = next(iter(sorted(directory.glob("sentence_*_config.json"))), None)
    config = read_table(path) if path else {}
    known = {"max_seq_length", "do_lower_case", "unpad_inputs", "modality_config"}
    settings = config | {"text": (config.get("modality_config") or {}).get("text")}
    unknown = [
        f"{key} = {value!r:.80}"
        for key, value in settings.items()
        if value and key not in known and value != TRANSFORMER_KEYS.get(key)
    ]
    if unknown:
        raise EncoderError(f"{path}: {'; '.join(unknown)} is not supported.")
    limit = config.get("max_seq_length")
    if limit is None and (directory / "tokenizer_config.json").is_file():
        limit = read_table(directory / "tokenizer_config.json").get("model_max_length")
    if limit is not None and (type(limit) not in (int, float) or not limit >= 1):
        raise EncoderError(f"{directory}: the largest number of tokens is {limit!r:.60}, not 1 or more.")
    return None if limit is None or limit > 2**31 else int(limit), config.get("do_lower_case") is True


def _default_prompt(path: Path) -> str:
    config = read_table(path) if path.is_file() else {}
    kind = config.get("model_type") or "SentenceTransformer"
    if kind != "SentenceTransformer":
        raise EncoderError(f"{path}: model_type '{kind}' is not supported. Supported: SentenceTransformer.")
    name: Any = config.get("default_prompt_name")
    if name is None:
        return ""
    prompts = config.get("prompts") or {}
    if not isinstance(prompts.get(name), str | None) or name not in prompts:
        raise EncoderError(
            f"{path}: the default prompt '{name}' is not among the prompts: {', '.join(prompts)}."
        )
    return prompts[name] or ""
