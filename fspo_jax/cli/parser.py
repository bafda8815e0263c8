"""The argument parser of every command. Imports nothing heavy: `fspo --help` must be quick."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from fspo_jax import __version__
from fspo_jax.cli import adapting, benchmarking, calibrating, data, encoding, evaluating, training
from fspo_jax.errors import did_you_mean

_DESCRIPTION = """Rewards that learn one person's taste from a handful of labelled pairs.

  fspo train configs/quickstart.toml --output runs/quickstart    meta-train over many personas
  fspo evaluate runs/quickstart                                  k-curve, controls, report with plots
  fspo adapt runs/quickstart pairs.jsonl --output users/ana      learn one person, in one forward pass
  fspo rerank runs/quickstart --user users/ana --prompt "Why is the sky blue?" --candidates drafts.json"""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors say what was probably meant."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            **options,  # type: ignore[arg-type]
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Exits with status 2 and one line."""
        if choice := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            given, known = choice.group(1), [name.strip(" '") for name in choice.group(2).split(",")]
            message = f"unknown choice '{given}'.{did_you_mean(given, known)} Known: {', '.join(known)}."
        self.exit(2, f"{self.prog}: error: {message}\nSee '{self.prog} --help'.\n")

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]
        """As in the base class; unknown options are answered by the command they were given to."""
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            command: Parser = getattr(arguments, "parser", self)
            options = [name for action in command._actions for name in action.option_strings]
            given = unknown[0].partition("=")[0]
            command.error(f"unknown argument '{unknown[0]}'.{did_you_mean(given, options)}")
        return arguments


def make_parser() -> Parser:
    """The parser of `fspo` with all its commands."""
    parser = Parser(
        prog="fspo", description=_DESCRIPTION, epilog="'fspo COMMAND --help' explains one command."
    )
    parser.add_argument("--version", action="version", version=f"fspo {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    for module in (training, evaluating, adapting, calibrating, data, encoding, benchmarking):
        module.add_parsers(commands)
    return parser
