"""How a command is declared, so that every help text has the same parts."""

from __future__ import annotations

import argparse
import importlib.util
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fspo_jax.errors import FspoError, how_to_install

if TYPE_CHECKING:
    from fspo_jax.reward import PersonalizedReward


def add_command(
    commands: Any,
    name: str,
    summary: str,
    examples: str,
    run: Callable[[argparse.Namespace], int],
    *,
    details: str,
) -> argparse.ArgumentParser:
    """Adds a command whose `--help` has a summary, when to use it, arguments and examples.

    Args:
        commands: What `add_subparsers` returned.
        name: The word after `fspo`.
        summary: What it does, in one sentence. The list of commands shows it too.
        examples: Command lines that work as typed, one per line.
        run: Called with the parsed arguments; returns the exit status.
        details: When to use it, what it writes, what its exit status means.
    """
    first = summary.split(". ")[0].split(":")[0].rstrip(".")
    parser = commands.add_parser(
        name,
        help=first,
        description="\n\n".join(textwrap.fill(text, 80) for text in (summary, details)),
        epilog="examples:\n" + textwrap.indent(examples, "  "),
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_reward(parser: argparse.ArgumentParser) -> None:
    """Adds the argument REWARD, kept as `run_path`, and the options of `load_reward`."""
    parser.add_argument(
        "run_path",
        metavar="REWARD",
        help="fspo-mini, fspo-base or fspo-lm (in the package), a run directory, or an exported reward directory",
    )
    parser.add_argument(
        "--base",
        metavar="MODEL",
        default="",
        help="where the reward's encoder or base model is now, if it has moved since training",
    )
    parser.add_argument(
        "--allow-download",
        action="store_true",
        help="let the reward download its encoder or base model from the hub",
    )
    parser.add_argument(
        "--without",
        metavar="BLOCK",
        nargs="+",
        default=(),
        help="blocks of features to leave out, if the reward was trained with block_dropout",
    )


def load_reward(arguments: argparse.Namespace) -> PersonalizedReward:
    """Loads the reward of a command with `add_reward`."""
    from fspo_jax.reward import PersonalizedReward

    return PersonalizedReward.load(
        arguments.run_path,
        base=arguments.base,
        allow_download=arguments.allow_download,
        without=arguments.without,
    )


def need_packages(command: str, extra: str, names: Sequence[str]) -> None:
    """Raises `FspoError` if a package of an extra is missing, before anything is read."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise FspoError(f"'{command}' needs the packages {', '.join(missing)}. {how_to_install(extra)}")


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
