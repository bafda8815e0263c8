"""`fspo encode`: texts to features, into the cache and a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command
from fspo_jax.cli.documents import parse_preferences, read_document
from fspo_jax.errors import ConfigError, DataError
from fspo_jax.types import Prompt, check_text

if TYPE_CHECKING:
    from fspo_jax.config import EncoderConfig

TEXTS = "texts, JSON or JSONL: a list of strings, or pairs {prompt, chosen, rejected}"


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "encode",
        "Turn texts into features with a text encoder. They go into the cache, so that no text is encoded "
        "twice, and with --output into a file: float32 [texts, features]. A pair gives two rows, chosen and "
        "rejected.",
        "fspo encode runs/quickstart drafts.json\nfspo encode all-MiniLM-L6-v2 texts.jsonl --output texts.npy",
        _encode,
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run, a directory of BERT-family weights, all-MiniLM-L6-v2, or a hub id",
    )
    parser.add_argument("texts", metavar="FILE", help=f"file of {TEXTS}; - for standard input")
    parser.add_argument("--output", metavar="FILE", help="write the features there, as .npy")


def _encode(arguments: argparse.Namespace) -> int:
    items = _items(*read_document(arguments.texts, TEXTS))

    import numpy as np

    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.models.features import featurize, make_featurizer

    featurizer = make_featurizer(_encoder_config(arguments.model))
    with ProgressBars() as bars:
        features = featurize(featurizer, items, bars.show_encoding)
    where = "in the cache"
    if arguments.output:
        with open(arguments.output, "wb") as file:
            np.save(file, features)
        where = f"in the cache and in {arguments.output}"
    print(f"{len(items):,} rows of {featurizer.dimension} features ({featurizer.fingerprint}) are {where}.")
    return 0


def _items(name: str, value: Any) -> list[tuple[Prompt, str]]:
    """Prompt and text of every row; a text on its own has an empty prompt."""
    items: list[tuple[Prompt, str]] = []
    for i, row in enumerate(value if isinstance(value, list) else [value]):
        if isinstance(row, str):
            items.append(("", check_text(row, f"{name}: texts[{i}]")))
        elif isinstance(row, dict):
            (pair,) = parse_preferences(row, f"{name}, row {i + 1}")
            items += [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]
        else:
            raise DataError(
                f"{name}: row {i + 1} must be a string or a pair, not {row!r:.80}. Expected {TEXTS}."
            )
    return items


def _encoder_config(model: str) -> EncoderConfig:
    """The encoder of a run or exported reward, or of the name itself."""
    from fspo_jax.checkpoints import METADATA, REWARD, stored_config
    from fspo_jax.config import EncoderConfig, LanguageModelConfig

    for directory in (Path(model), Path(model) / REWARD):
        if (directory / METADATA).is_file() and '"format_version"' in (directory / METADATA).read_text(
            "utf-8"
        ):
            config = stored_config(directory)
            if isinstance(config.scorer, LanguageModelConfig):
                raise ConfigError(
                    f"{model}: a language model reads texts as they are; nothing to encode beforehand."
                )
            return config.encoder
    return EncoderConfig(model=model)
