"""Every example in a docstring runs and prints what it says, except lines marked `# doctest: +SKIP`."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

from fspo_jax import losses, metrics

ROOT = Path(__file__).resolve().parents[1]
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "fspo_jax").rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstring_examples_print_what_they_say(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=flags)
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize("module", [losses, metrics], ids=lambda module: module.__name__)
def test_every_loss_and_metric_has_arguments_and_an_example_that_runs(module) -> None:
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            assert ">>>" in text, f"{node.name} has no example"
            assert "+SKIP" not in text, f"the example of {node.name} does not run"
            assert "Args:" in text or "those of" in text, f"{node.name} does not say what it takes"
