"""`fspo encode`: texts to features, into the cache and a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command
from fspo_jax.cli.documents import parse_preferences, read_document
from fspo_jax.errors import CheckpointError, ConfigError, DataError
from fspo_jax.types import Prompt, check_text

if TYPE_CHECKING:
    from fspo_jax.models.features.featurizer import Featurizer

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
        help="a run, a shipped reward (fspo-mini), a directory of BERT-family weights, all-MiniLM-L6-v2, or a hub id",
    )
    parser.add_argument("texts", metavar="FILE", help=f"file of {TEXTS}; - for standard input")
    parser.add_argument("--output", metavar="FILE", help="write the features there, as .npy")


def _encode(arguments: argparse.Namespace) -> int:
    items = _items(*read_document(arguments.texts, TEXTS))

    import numpy as np

    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.models.features.featurizer import featurize

    featurizer = _featurizer(arguments.model)
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
            for pair in parse_preferences(row, f"{name}, row {i + 1}"):
                items += [(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)]
        else:
            raise DataError(
                f"{name}: row {i + 1} must be a string or a pair, not {row!r:.80}. Expected {TEXTS}."
            )
    return items


def _featurizer(model: str) -> Featurizer:
    """That of a run, an exported reward or a shipped one, or of the encoder with that name."""
    from fspo_jax.checkpoints import METADATA, REWARD, read_featurizer, stored_config
    from fspo_jax.config import EncoderConfig, LanguageModelConfig
    from fspo_jax.models.features.featurizer import make_featurizer

    try:
        config = stored_config(model)
    except CheckpointError:
        written = [Path(model, METADATA), Path(model, REWARD, METADATA)]
        if any(path.is_file() and '"format_version"' in path.read_text("utf-8") for path in written):
            raise
        return make_featurizer(EncoderConfig(model=model))
    if isinstance(config.scorer, LanguageModelConfig):
        raise ConfigError(f"{model}: a language model reads texts as they are; nothing to encode beforehand.")
    return read_featurizer(model)
