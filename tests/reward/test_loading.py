"""Rewards from files choose nothing on this machine, and find their encoder or base model where it is now."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_encoder import write_encoder
from tiny_language import lora_reward, some_pairs, tiny_config, tiny_params, tiny_parts

from fspo_jax.config import TrainConfig, config_from_dict
from fspo_jax.errors import CheckpointError, EncoderError, FspoError
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import Preference

PAIRS = [Preference("p", "the cat sat", "a dog ran")]


def feature_config(model: str, cache: str) -> TrainConfig:
    return config_from_dict(
        {
            "seed": 0,
            "steps": 10,
            "steps_per_dispatch": 10,
            "evaluate_every": 10,
            "objective": "bradley_terry",
            "data": {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}]},
            "encoder": {"model": model, "cache": cache},
            "scorer": {"kind": "preferential_gp", "hidden": 4, "width": 2},
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
            "episodes": {"max_context": 4},
        }
    )


def feature_reward(config: TrainConfig) -> PersonalizedReward:
    featurizer = make_featurizer(config.encoder, config.features)
    params = make_scorer(config.scorer, featurizer.blocks).init(jax.random.key(0))
    return PersonalizedReward.from_parts(config, params, featurizer)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reward whose config names a cache and, relative to where it was trained, an encoder."""
    (tmp_path / "theirs").mkdir()
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path / "theirs")
    write_encoder(tmp_path / "theirs" / "encoder")
    cache = tmp_path / "chosen by a stranger"
    feature_reward(feature_config("encoder", str(cache))).save(tmp_path / "reward")
    shutil.rmtree(cache)
    return tmp_path / "reward"


def test_a_reward_does_not_choose_the_cache(stranger: Path, tmp_path: Path) -> None:
    for cache in ("", tmp_path / "given"):
        reward = PersonalizedReward.load(stranger, cache=cache)
        reward.adapt(PAIRS).score("p", ["a cat"])
        assert reward.config.encoder.cache == str(cache)
        assert (Path(cache or tmp_path / "mine") / "secret").exists()
    assert not (tmp_path / "chosen by a stranger").exists()


def test_a_reward_is_loaded_from_any_directory_and_told_where_its_encoder_is(
    stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = PersonalizedReward.load(stranger).adapt(PAIRS).score("p", ["a cat"])
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(
        PersonalizedReward.load(stranger).adapt(PAIRS).score("p", ["a cat"]), expected
    )
    (tmp_path / "theirs").rename(tmp_path / "moved")
    with pytest.raises(EncoderError, match=r"encoder.*If it has moved, say where it is with base="):
        PersonalizedReward.load(stranger)
    moved = PersonalizedReward.load(stranger, base=tmp_path / "moved" / "encoder")
    np.testing.assert_array_equal(moved.adapt(PAIRS).score("p", ["a cat"]), expected)
    moved.save(tmp_path / "saved again")
    PersonalizedReward.load(tmp_path / "saved again")
    write_encoder(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="was meta-trained on features") as caught:
        PersonalizedReward.load(stranger, base=tmp_path / "other")
    assert "has moved" not in str(caught.value)  # it was told


def test_a_reward_contacts_no_network_without_allow_download(
    stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stranger / "config.json"
    record = json.loads(path.read_text())
    record["config"]["encoder"]["model"] = "someone/encoder"
    record["base"] = ""
    path.write_text(json.dumps(record))
    asked = []

    def download(name: str, *, local_files_only: bool = False, **_: Any) -> str:
        asked.append((name, local_files_only))
        if local_files_only:
            raise OSError("not here")
        return str(tmp_path / "theirs" / "encoder")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(EncoderError, match=r"not allowed here.*allow_download=True"):
        PersonalizedReward.load(stranger)
    assert asked == [("someone/encoder", True)]
    PersonalizedReward.load(stranger, allow_download=True)
    assert asked[1] == ("someone/encoder", False)


@pytest.mark.slow
def test_a_reward_with_adapters_finds_its_base_by_place_or_digest_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    monkeypatch.chdir(tmp_path / "theirs")
    for seed, name in enumerate(("base", "other")):
        parts = tiny_parts(config := tiny_config("sft", "implicit"))
        PersonalizedReward.from_language(config, parts, *tiny_params(parts, seed)).save(name)
    lora = tiny_config("dpo", "implicit", scorer={"base": "base", "lora_rank": 2})
    lora_reward(lora).save("reward")
    pairs = some_pairs(0, 2)
    expected = PersonalizedReward.load("reward").adapt(pairs).score("p", ["warm", "cold"])
    monkeypatch.chdir(tmp_path)

    def check(reward: PersonalizedReward) -> None:
        np.testing.assert_array_equal(reward.adapt(pairs).score("p", ["warm", "cold"]), expected)

    check(PersonalizedReward.load("theirs/reward"))
    shutil.copytree("theirs/other", "base")  # another base at the place that the config names
    check(PersonalizedReward.load("theirs/reward"))
    Path("theirs").rename("moved")
    with pytest.raises(CheckpointError, match=r"over a base with digest .* but 'base' has .*say where it is"):
        PersonalizedReward.load("moved/reward")
    with pytest.raises(CheckpointError, match=r"over a base with digest .* but 'moved/other' has"):
        PersonalizedReward.load("moved/reward", base="moved/other")
    moved = PersonalizedReward.load("moved/reward", base="moved/base")
    check(moved)
    moved.save("again")
    monkeypatch.chdir("moved")
    check(PersonalizedReward.load("../again"))
    assert PersonalizedReward.load("../again").fingerprint == moved.fingerprint


@pytest.mark.slow
def test_a_reward_that_is_its_own_base_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts = tiny_parts(config := tiny_config("sft", "implicit"))
    PersonalizedReward.from_language(config, parts, *tiny_params(parts)).save("base")
    lora_reward(tiny_config("dpo", "implicit", scorer={"base": "base", "lora_rank": 2})).save("reward")
    shutil.rmtree("base")
    shutil.copytree("reward", "base")
    with pytest.raises(CheckpointError, match="base: is its own base"):
        PersonalizedReward.load("reward")


@pytest.mark.parametrize("weights", ["int4", None, 8])
def test_unknown_weights_are_refused(weights: Any) -> None:
    with pytest.raises(FspoError, match="it must be 'float' or 'int8'"):
        PersonalizedReward.load("fspo-mini", weights=weights)


def test_what_stands_beside_a_reward_is_loaded_in_the_same_way(stranger: Path, tmp_path: Path) -> None:
    shutil.copytree(stranger, stranger / "population")
    reward = PersonalizedReward.load(stranger, cache=tmp_path / "given")
    beside = reward.load_beside("population")
    assert beside is not None and beside.config.encoder.cache == str(tmp_path / "given")
    assert reward.load_beside("mismatched") is None
    assert dataclasses.replace(reward, origin=None).load_beside("population") is None


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["implicit", "scalar", "gaussian_process"])
def test_a_reward_over_a_base_in_bfloat16_is_loaded_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reward: str
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = tiny_parts(config := tiny_config("sft", "implicit"))
    PersonalizedReward.from_language(config, parts, *tiny_params(parts)).save("base")
    objective = "dpo" if reward == "implicit" else "bradley_terry"
    lora = lora_reward(
        tiny_config(objective, reward, scorer={"base": "base", "lora_rank": 2, "compute": "bfloat16"})
    )
    lora.save("reward")
    pairs = some_pairs(0, 2)
    np.testing.assert_array_equal(
        PersonalizedReward.load("reward").adapt(pairs).score("p", ["warm", "cold"]),
        lora.adapt(pairs).score("p", ["warm", "cold"]),
    )
