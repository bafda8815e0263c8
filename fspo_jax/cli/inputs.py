"""Where a command reads its input: a file, standard input, or nowhere; and which column of it is which."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, TextIO

from fspo_jax.errors import DataError

if TYPE_CHECKING:
    from fspo_jax.data.collecting import LoadedUsers

STANDARD_INPUT = "-"


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Adds `--columns` and `--format`: how rows of pairs are read."""
    parser.add_argument(
        "--columns",
        metavar="ROLE=COLUMN,...",
        default="",
        help="which of your columns is which, e.g. prompt=question,chosen=better,rejected=worse,user_id=annotator",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        default="auto",
        help="auto (default: the columns tell), rows, winner, ratings or kto; or the name of a published data set, "
        "such as prism",
    )


def read_people(
    path: str, arguments: argparse.Namespace, split: str = "", to: TextIO | None = None
) -> LoadedUsers:
    """The users of a path, read as `--columns` and `--format` say. Prints how, and what was set aside.

    Args:
        path: As for `load_users`; `-` is standard input.
        arguments: With the options of `add_reading`.
        split: Of what `fspo data make` wrote.
        to: Where to print; standard error by default.

    Raises:
        DataError: As `load_users`, or no row can be used.
    """
    from fspo_jax.data.sources import load_users

    loaded = load_users(path, format=arguments.format, columns=arguments.columns, split=split)
    print(f"{describe_path(path)}: {loaded.summary()}", file=to or sys.stderr)
    if not loaded.users:
        first = (
            f" The first, line {loaded.rejects[0].line}: {loaded.rejects[0].reason}."
            if loaded.rejects
            else ""
        )
        raise DataError(f"{describe_path(path)}: no row can be used.{first}")
    return loaded


def describe_path(path: str) -> str:
    """How messages call what a path names."""
    return "standard input" if path == STANDARD_INPUT else path


def input_path(given: str | None, expected: str, example: str) -> str:
    """The path to read, `-` for standard input when none is given.

    A terminal is read only when `-` asks for it; without, the command says what it needs and ends.

    Args:
        given: The argument of the user.
        expected: What should be there.
        example: A command line that gives it.

    Raises:
        SystemExit: Nothing is given, and standard input is a terminal or closed.
    """
    terminal = sys.stdin is None or sys.stdin.isatty()
    if given is None and terminal:
        print(
            f"fspo: error: there is nothing to read. Give {expected}.\nFor example:\n{example}",
            file=sys.stderr,
        )
        raise SystemExit(2)
    if given == STANDARD_INPUT and terminal:
        print(
            f"fspo: reading {expected} from the terminal. End with Ctrl-D on a line of its own.",
            file=sys.stderr,
        )
    return given or STANDARD_INPUT


def read_document(path: str, expected: str) -> tuple[str, Any]:
    """The name, for messages, and the JSON value of a file or of standard input.

    Args:
        path: The file, or `-`.
        expected: What should be there, for messages.

    Raises:
        DataError: No such file, not UTF-8, empty, or not JSON.
    """
    from fspo_jax.data.locations import read_location
    from fspo_jax.data.readers import read_json

    name, data = read_location(path)
    return name, read_json(data, name, expected)
