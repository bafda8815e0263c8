"""Hooks of the documentation's site: the help of every command, and examples in docstrings as code."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from typing import Any

import griffe

from fspo_jax.cli.parser import make_parser

MARK = "<!-- help of every command -->"


class ExampleSections(griffe.Extension):
    """Reads `Example:` in a docstring as griffe reads `Examples:`, whose lines are shown as code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object of the package."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^(\s*)Example:$", r"\1Examples:", obj.docstring.value)


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands below a parser, in order."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands(command)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replaces the mark of a page by the help texts. Called by mkdocs for every page."""
    if MARK not in markdown:
        return markdown
    os.environ["COLUMNS"] = "100"
    parser = make_parser()
    texts = [f"## {command.prog}\n\n```text\n{command.format_help()}```\n" for command in commands(parser)]
    return markdown.replace(MARK, f"```text\n{parser.format_help()}```\n\n" + "\n".join(texts))
