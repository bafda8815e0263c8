"""Scales and directions of features are fitted in a run, stored with its reward and loaded with it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import write_encoder
from tiny_run import tiny_config

from fspo_jax.checkpoints import read_fitted
from fspo_jax.checkpoints.rewards import FITTED
from fspo_jax.config import EncoderConfig, SentenceConfig, StyleConfig, TrainConfig
from fspo_jax.errors import CheckpointError
from fspo_jax.models.features.fitted import fit_columns
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.reward import PersonalizedReward
from fspo_jax.training.train import train
from fspo_jax.types import Preference, User

FEATURES = (SentenceConfig(directions=3, standardize=True), StyleConfig())


def people(split: str) -> list[User]:
    words = "the a cat dog sat on mat ran far away and is good bad".split()
    generator = np.random.default_rng(len(split))

    def text() -> str:
        return " ".join(generator.choice(words, 5)) + "!" * int(generator.integers(4))

    pairs = [[Preference(f"p{i}", text(), text() + ".") for i in range(6)] for _ in range(4)]
    return [User(f"{split}{u}", tuple(of_user), "words") for u, of_user in enumerate(pairs)]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setattr(
        "fspo_jax.data.build.load_splits", lambda _, splits, **__: {split: people(split) for split in splits}
    )
    encoder = EncoderConfig(str(write_encoder(tmp_path / "m")), cache=str(tmp_path / "cache"))
    config = tiny_config(steps=10, evaluate_every=10, population_baseline=False)
    return dataclasses.replace(config, encoder=encoder, features=FEATURES)


def test_reward_brings_what_was_fitted_on_the_texts_of_training(config: TrainConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run")
    plain = make_featurizer(config.encoder, FEATURES)
    items = [
        (p.prompt, text)
        for user in people("train")
        for p in user.preferences
        for text in (p.chosen, p.rejected)
    ]
    items = list(dict.fromkeys(items))
    prompts, responses = zip(*items, strict=True)
    expected = fit_columns(plain(prompts, responses), prompts, plain.blocks, FEATURES)
    found = read_fitted(run)
    assert found.keys() == {"sentence"}
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-5)
    reward = PersonalizedReward.load(run, cache=tmp_path / "cache")
    pairs = list(people("test")[0].preferences)
    scores = reward.adapt(pairs[:3]).score("p", ["the cat sat", "a dog!"])
    reward.save(tmp_path / "saved")
    again = PersonalizedReward.load(tmp_path / "saved", cache=tmp_path / "cache")
    np.testing.assert_array_equal(again.adapt(pairs[:3]).score("p", ["the cat sat", "a dog!"]), scores)
    begun = dataclasses.replace(config, start=str(run), seed=5)
    assert read_fitted(train(begun, tmp_path / "begun")).keys() == found.keys()
    (tmp_path / "saved" / FITTED).unlink()
    with pytest.raises(CheckpointError, match=f"half of an exported reward: {FITTED} is missing"):
        PersonalizedReward.load(tmp_path / "saved", cache=tmp_path / "cache")


def test_reward_of_an_older_version_has_nothing_fitted(config: TrainConfig, tmp_path: Path) -> None:
    features = (SentenceConfig(), StyleConfig())
    run = train(dataclasses.replace(config, features=features), tmp_path / "run")
    assert not (run / FITTED).exists() and read_fitted(run) == {}
    path = run / "config.json"
    stored = json.loads(path.read_text())
    del stored["config"]["block_dropout"]
    stored["config"]["features"] = [{"kind": "sentence"}, {"kind": "style"}]
    path.write_text(json.dumps(stored))
    loaded = PersonalizedReward.load(run, cache=tmp_path / "cache")
    assert np.isfinite(loaded.adapt(()).score("p", ["the cat"])).all()
