"""How the tests of the console command call it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from fspo_jax.cli import main

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    ["train"], ["evaluate"], ["adapt"], ["rerank"], ["encode"], ["data"], ["user"],
    ["data", "make"], ["data", "inspect"], ["data", "validate"], ["data", "audit"], ["benchmark"], ["calibrate"],
    ["community"], ["communities"], ["serve"], ["mcp"],
]  # fmt: skip
PAIRS = [
    {"prompt": "Explain entropy.", "chosen": "A messy room.", "rejected": "S equals k log W."},
    {"prompt": "What is a qubit?", "chosen": "A coin that spins.", "rejected": "A unit vector."},
]


class WordFeaturizer:
    """Stands in for the encoder: a hash of each word picks a direction."""

    blocks = MappingProxyType({"words": 16})
    dimension = 16
    fingerprint = "words-16"

    def __call__(self, prompts: Sequence[object], responses: Sequence[str]) -> np.ndarray:
        rows = np.zeros((len(responses), self.dimension), np.float32)
        for row, response in zip(rows, responses, strict=True):
            for word in response.lower().split():
                row[hashlib.sha256(word.encode()).digest()[0] % self.dimension] += 1
        return rows


def give_stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


def ask(**fields: object) -> str:
    """One JSON document for `rerank`."""
    return json.dumps({"prompt": "x", "candidates": [], **fields})


def expect_error(capsys: pytest.CaptureFixture[str], argv: Sequence[object]) -> str:
    """Runs a command that must fail with one line on standard error and status 2, and returns the line."""
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert "Traceback" not in captured.err
    lines = [line for line in captured.err.splitlines() if line.startswith("fspo") and ": error: " in line]
    assert len(lines) == 1, captured.err
    return lines[0]


def margin(answer: dict, a: int, b: int) -> float:
    """Score of candidate `a` above candidate `b` in what `rerank` wrote."""
    scores = {line["index"]: line["score"] for line in answer["ranking"]}
    return scores[a] - scores[b]


def fspo(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "fspo_jax", *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **options)  # type: ignore[call-overload]
