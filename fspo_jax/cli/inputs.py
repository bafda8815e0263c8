"""The input of commands: a file or standard input, its columns and its format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fspo_jax.errors import DataError
from fspo_jax.private_files import why_not_written

if TYPE_CHECKING:
    from fspo_jax.data.collecting import LoadedUsers

STANDARD_INPUT = "-"


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Adds `--columns` and `--format`, which say how rows are read."""
    parser.add_argument(
        "--columns",
        metavar="ROLE=COLUMN,...",
        default="",
        help="names of your columns, e.g. prompt=question,chosen=better,rejected=worse,user_id=annotator",
    )
    parser.add_argument(
        "--format",
        metavar="NAME",
        default="auto",
        help="auto (the default, recognises the columns), rows, winner, ratings or kto; or the name of a published "
        "data set, such as prism",
    )


def read_people(
    path: str,
    arguments: argparse.Namespace,
    split: str = "",
    to: TextIO | None = None,
    id_optional: bool = False,
) -> LoadedUsers:
    """Loads users as `--columns` and `--format` say, and prints how rows were read and how many were set aside.

    Args:
        path: As for `load_users`; `-` is standard input.
        arguments: Arguments with the options of `add_reading`.
        split: The split to read of a directory that `fspo data make` wrote.
        to: Where to print; standard error by default.
        id_optional: Whether the pairs may be of one person without an id.

    Raises:
        DataError: No row can be used, or as in `load_users`.
    """
    from fspo_jax.data.sources import load_users

    loaded = load_users(
        path, format=arguments.format, columns=arguments.columns, split=split, id_optional=id_optional
    )
    print(f"{describe_path(path)}: {loaded.summary()}", file=to or sys.stderr)
    say_if_one_person(path, loaded)
    if not loaded.users:
        first = (
            f" The first, line {loaded.rejects[0].line}: {loaded.rejects[0].reason}."
            if loaded.rejects
            else ""
        )
        raise DataError(f"{describe_path(path)}: no row can be used.{first}")
    return loaded


def new_path(given: str) -> Path:
    """Returns the path of a file or directory to write; says before any work is done that it cannot be written.

    Raises:
        DataError: Something is there, or nothing can be made there.
    """
    path = Path(given)
    if path.exists():
        raise DataError(f"{path}: already exists. Choose another path.")
    if why := why_not_written(path):
        raise DataError(f"{path}: cannot be written, because {why}. Choose another path.")
    return path


def directory_to_write(given: str) -> Path:
    """As `new_path`, for a directory that may be there."""
    return Path(given) if Path(given).is_dir() else new_path(given)


def say_if_one_person(path: str, loaded: LoadedUsers) -> None:
    """Says on standard error if no row has the id of its person."""
    if loaded.users and not any(user.user_id for user in loaded):
        print(
            f"{describe_path(path)}: there is no column user_id, so all pairs count as those of one person, as 'fspo "
            "adapt' reads them. Training and evaluation need the column.",
            file=sys.stderr,
        )


def describe_path(path: str) -> str:
    """Name of the input in messages."""
    return "standard input" if path == STANDARD_INPUT else path


def input_path(given: str | None, expected: str, example: str) -> str:
    """Returns the path to read: the given one, or `-` for standard input.

    If nothing is given and standard input is a terminal, the command says what it needs and ends.

    Args:
        given: The argument, or None.
        expected: What the input should be, for messages.
        example: A command line that works, for messages.

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
    return STANDARD_INPUT if given is None else given


def read_document(path: str, expected: str) -> tuple[str, Any]:
    """Reads a JSON value from a file or standard input; returns its name for messages, and the value.

    Args:
        path: The file, or `-`.
        expected: What the input should be, for messages.

    Raises:
        DataError: No such file, not UTF-8, empty, or not JSON.
    """
    from fspo_jax.data.locations import read_location
    from fspo_jax.data.readers import read_json

    name, data = read_location(path)
    return name, read_json(data, name, expected)
