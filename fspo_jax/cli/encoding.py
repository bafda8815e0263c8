"""`fspo encode`: texts to embeddings, into the cache or a file."""

from __future__ import annotations

import argparse
from typing import Any

from fspo_jax.cli.commands import add_command


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "encode",
        "Encode texts with a run's text encoder, or any encoder of the BERT family. "
        "Embeddings go into the cache, so that no text is encoded twice, and with --output into a file.",
        "fspo encode runs/quickstart texts.jsonl\n"
        "fspo encode all-MiniLM-L6-v2 texts.jsonl --output texts.npy",
        _encode,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a run, a directory of weights, all-MiniLM-L6-v2 or a hub id"
    )
    parser.add_argument(
        "texts", metavar="FILE", help="JSON or JSONL of strings, or preferences; - for standard input"
    )
    parser.add_argument("--output", metavar="FILE", help="write the embeddings there, as .npy")


def _encode(arguments: argparse.Namespace) -> int:
    raise NotImplementedError
