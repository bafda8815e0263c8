"""`fspo mcp`: what it refuses to start with, and that an assistant reaches its tools over standard input and output."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from cli_calls import ROOT, expect_error

mcp = pytest.importorskip("mcp", reason="the package mcp is not installed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--users", "users.db"], "--user"),
        (["--users", "users.db", "--user", "a b"], "--user must be 1 to 128"),
        (["--users", "nonsense://x", "--user", "ana"], "cannot be opened as a database"),
        (["--users", "users.db", "--user", "ana", "--pool", "missing.json"], "cannot be read as JSON"),
    ],
)
def test_wrong_option_is_told_before_the_reward_is_loaded(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: Sequence[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fspo_jax.cli.assisting.load_reward", None)
    assert message in expect_error(capsys, ["mcp", "fspo-mini", *options])


def test_missing_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mcp" else find(name))
    argv = ["mcp", "fspo-mini", "--users", "users.db", "--user", "ana"]
    assert "packages mcp. In a clone of fspo_jax, install" in expect_error(capsys, argv)


CHILD = """
import sys
sys.path.insert(0, "tests")
import fspo_jax.cli.assisting as assisting
from fspo_jax.cli import main
from tiny_reward import make_reward
assisting.load_reward = lambda _: make_reward()
sys.exit(main(["mcp", "fspo-mini", "--user", "ana", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_assistant_that_starts_the_command_adapts_and_ranks(
    tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    started = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-W", "error", "-c", CHILD, "--users", str(tmp_path / "users.db")],
        env=compiled_programs,
        cwd=ROOT,
    )

    async def main() -> None:
        async with mcp.Client(started) as client:
            pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
            assert not (await client.call_tool("adapt", pair)).is_error
            answer = await client.call_tool("rank", {"prompt": "q", "candidates": ["b", "a"]})
            assert [line["text"] for line in json.loads(answer.content[0].text)["ranking"]] == ["a", "b"]

    anyio.run(main)
