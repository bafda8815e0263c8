"""The argument parser of all commands. Imports nothing heavy, so that `fspo --help` is quick."""

from __future__ import annotations

import argparse
import re
from functools import partial
from typing import NoReturn

from fspo_jax import __version__
from fspo_jax.cli import (
    adapting,
    assisting,
    benchmarking,
    calibrating,
    data,
    encoding,
    evaluating,
    learning_community,
    remembering,
    serving,
    training,
)
from fspo_jax.errors import did_you_mean

_DESCRIPTION = """Learns what one person likes from a few pairs that they labelled, and ranks responses for them.

The reward fspo-mini comes with the package and needs no training. Try it:

  echo '{"pairs": [{"prompt": "Explain entropy.", "chosen": "A messy room.", "rejected": "S = k log W."}],
    "prompt": "What is a qubit?", "candidates": ["A vector in C^2.", "A spinning coin."]}' | fspo rerank fspo-mini -

What people do with it:
  rank drafts for one person       fspo rerank fspo-mini request.json
  save what a person likes         fspo adapt fspo-mini pairs.jsonl --output users/ana
  serve many people over HTTP      fspo serve fspo-mini --users users.db
  start from a community's taste   fspo community fspo-mini people.csv --output rewards/ours
  train a reward                   fspo train configs/quickstart.toml --output runs/quickstart
  measure a reward on new people   fspo evaluate fspo-mini --data people.csv
  calibrate a reward's confidence  fspo calibrate fspo-mini people.csv --output rewards/calibrated"""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors suggest the closest known word."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            **options,  # type: ignore[arg-type]
            allow_abbrev=False,
            formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=28),
        )

    def error(self, message: str) -> NoReturn:
        """Exits with status 2 and one line."""
        if choice := re.search(r"argument (.*): invalid choice: '([^']*)' \(choose from (.*)\)", message):
            argument, given, known = choice.group(1), choice.group(2), choice.group(3)
            names = [name.strip(" '") for name in known.split(",")]
            what = "command" if argument == "COMMAND" else f"value of {argument}:"
            message = f"unknown {what} '{given}'.{did_you_mean(given, names)} Known: {', '.join(names)}."
        sentence = message if message.endswith("?") else f"{message.rstrip('.')}."
        self.exit(2, f"{self.prog}: error: {sentence}\nSee '{self.prog} --help'.\n")

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]
        """As in the base class, but the command that got an unknown option reports it."""
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            command: Parser = getattr(arguments, "parser", self)
            options = [name for action in command._actions for name in action.option_strings]
            given = unknown[0].partition("=")[0]
            hint = " Put it after the command." if given in options else did_you_mean(given, options)
            command.error(f"unknown argument '{unknown[0]}'.{hint}")
        return arguments


def make_parser() -> Parser:
    """The parser of `fspo` with all its commands."""
    parser = Parser(
        prog="fspo", description=_DESCRIPTION, epilog="'fspo COMMAND --help' explains one command."
    )
    parser.add_argument("-V", "--version", action="version", version=f"fspo {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for module in (
        adapting,
        remembering,
        serving,
        assisting,
        learning_community,
        training,
        evaluating,
        calibrating,
        data,
        encoding,
        benchmarking,
    ):
        module.add_parsers(commands)
    return parser
