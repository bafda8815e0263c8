"""Runs the code of a page of the documentation, block by block.

- a block with a title is a file: ```` ```toml title="people.toml" ````
- `diff title="fspo_jax/..."` changes a file of the package: lines with `-` go, lines with `+` come
- `python` without a title runs, all blocks of a page in one namespace
- `sh` runs: each line a command
- other blocks are output, and are not looked at
- a block after `<!-- not run: reason -->` is left alone
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parents[2] / "docs"

IN_SMALL = (
    (r"(load_users\(.*\))\[:\d+\]", r"\1[:12]"),
    (r"\Aseed = \d+\n", r"\g<0>population_baseline = false\n"),
    (r"(?m)^steps = \d+", "steps = 20"),
    (r"(?m)^(steps_per_dispatch|evaluate_every) = \d+", r"\1 = 10"),
    (r"(?m)^\[optimizer\]$", "[optimizer]\nwarmup_steps = 5"),
)
"""What is smaller in the test than on the page."""


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    title: str
    text: str


def blocks_of(page: str) -> Iterator[Block]:
    """The blocks of a page that are meant to run, in order."""
    fences = re.finditer(
        r'(?ms)^(<!-- not run: [^\n]*-->\n)?```(\w+)(?: title="([^"]+)")?[^\n]*\n(.*?)^```$', page
    )
    for fence in fences:
        skipped, language, title, text = fence.groups()
        if not skipped:
            yield Block(language, title or "", in_small(text))


def in_small(text: str) -> str:
    """The same code with fewer people and steps: that it works is tested, not how well."""
    for pattern, small in IN_SMALL:
        text = re.sub(pattern, small, text)
    return text


def apply_diff(text: str, diff: str) -> str:
    """Replaces the one place of `text` that the diff's lines without `+` describe.

    Raises:
        AssertionError: There is no such place, or more than one.
    """
    for hunk in re.split(r"(?m)^@@.*\n", diff):
        lines = [(line[:1], line[1:]) for line in hunk.splitlines()]
        before = "".join(rest + "\n" for mark, rest in lines if mark != "+")
        after = "".join(rest + "\n" for mark, rest in lines if mark != "-")
        assert before, f"no line of the file says where this goes:\n{hunk}"
        assert text.count(before) == 1, f"{text.count(before)} places in the file look like:\n{before}"
        text = text.replace(before, after)
    return text


def of_package(block: Block) -> bool:
    """Whether the block is a file of the package, or a change of one."""
    return block.title.startswith("fspo_jax/")


def change_package(blocks: list[Block], root: Path) -> None:
    """Writes and changes files of the copy of the package in `root`."""
    for block in filter(of_package, blocks):
        path = root / block.title
        if block.language == "diff":
            path.write_text(apply_diff(path.read_text(encoding="utf-8"), block.text), encoding="utf-8")
        else:
            assert not path.exists(), f"{block.title} is a new file on the page, but it exists"
            path.write_text(block.text, encoding="utf-8")


def run(blocks: list[Block]) -> None:
    """Runs the blocks in this process and the current directory."""
    from fspo_jax.cli import main

    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        if of_package(block):
            continue
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            exec(compile(block.text, "<page>", "exec"), namespace)
        elif block.language == "sh":
            for line in block.text.splitlines():
                echo, _, command = line.rpartition(" | ")
                if echo:
                    sys.stdin = io.TextIOWrapper(io.BytesIO(shlex.split(echo)[1].encode()))
                program, *arguments = shlex.split(command, comments=True)
                assert program == "fspo", f"only fspo is run: {line}"
                assert main(arguments) == 0, line


if __name__ == "__main__":
    run(list(blocks_of(Path(sys.argv[1]).read_text(encoding="utf-8"))))
