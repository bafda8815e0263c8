"""How one command is declared."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import Any


def add_command(
    commands: Any, name: str, summary: str, example: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Adds a command with the parts that every `--help` has: a sentence, arguments, an example.

    Args:
        commands: What `add_subparsers` returned.
        name: The word after `fspo`.
        summary: What it does, in one sentence or a few.
        example: Command lines, one a line.
        run: Called with the parsed arguments; returns the exit status.
    """
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    first = summary.split(". ")[0].split(":")[0].rstrip(".")
    parser = commands.add_parser(
        name, help=first, description=textwrap.fill(summary, 100), epilog=f"example:\n{lines}"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Adds `--set KEY=VALUE ...`, kept as `overrides`."""
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        dest="overrides",
        help="override keys of the config, e.g. optimizer.learning_rate=3e-4 data.sources.0.personas=50",
    )
