"""A reward that was trained with block dropout can be loaded without some of its blocks."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_encoder import write_encoder
from tiny_reward import make_reward

from fspo_jax.config import EncoderConfig, SentenceConfig, StyleConfig
from fspo_jax.errors import CheckpointError, EncoderError
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import Preference

PAIRS = [Preference("p", "the cat sat", "a dog!"), Preference("q", "a good mat", "the bad mat ran")]
CANDIDATES = ["the cat sat on the mat", "a dog ran far away!!", ""]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward that reads its encoder, another model and the style, in `reward` beside the models."""
    root = tmp_path_factory.mktemp("blocks")
    write_encoder(root / "m")
    other = str(write_encoder(root / "other", seed=1))
    config = dataclasses.replace(
        make_reward().config,
        encoder=EncoderConfig(str(root / "m"), cache=str(root / "cache")),
        features=(SentenceConfig(), SentenceConfig(model=other), StyleConfig()),
        block_dropout=0.2,
    )
    featurizer = make_featurizer(config.encoder, config.features)
    fitted = {"sentence_other": np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)}
    featurizer = featurizer.with_fitted(fitted)
    params = make_scorer(config.scorer, featurizer.blocks).init(jax.random.key(0))
    PersonalizedReward.from_parts(config, params, featurizer).save(root / "reward")
    sure = dataclasses.replace(config, block_dropout=0.0)
    PersonalizedReward.from_parts(sure, params, featurizer).save(root / "sure")
    return root


def test_left_out_blocks_are_zero_and_need_no_model(saved: Path, tmp_path: Path) -> None:
    whole = PersonalizedReward.load(saved / "reward", cache=saved / "cache")
    rows = whole.scoring.featurizer(["p"] * 3, CANDIDATES)
    aside = Path(shutil.move(saved / "other", tmp_path / "other"))
    try:
        with pytest.raises(EncoderError, match=r"block 'sentence_other': .*without=\[\"sentence_other\"\]"):
            PersonalizedReward.load(saved / "reward", cache=saved / "cache")
        small = PersonalizedReward.load(saved / "reward", cache=saved / "cache", without=["sentence_other"])
    finally:
        shutil.move(aside, saved / "other")
    expected = rows.copy()
    expected[:, 16:19] = 0.0
    np.testing.assert_array_equal(small.scoring.featurizer(["p"] * 3, CANDIDATES), expected)
    assert "without sentence_other" in repr(small) and "without" not in repr(whole)
    assert small.fingerprint != whole.fingerprint
    assert np.isfinite(small.adapt(PAIRS).score("p", CANDIDATES)).all()
    # The rows of the block in the cache are still its own.
    np.testing.assert_array_equal(
        PersonalizedReward.load(saved / "reward", cache=saved / "cache").scoring.featurizer(
            ["p"] * 3, CANDIDATES
        ),
        rows,
    )
    with pytest.raises(CheckpointError, match="a reward without sentence_other cannot be saved"):
        small.save(tmp_path / "small")
    with pytest.raises(CheckpointError):
        small.adapt(PAIRS).save(tmp_path / "ana")
        type(small.adapt(())).load(tmp_path / "ana", whole)


@pytest.mark.parametrize(
    ("name", "without", "message"),
    [
        ("reward", ["sentence_othr"], r"has no block 'sentence_othr' .*Did you mean .*sentence_other"),
        ("reward", ["sentence"], "cannot do without 'sentence', which costs nothing beside the encoder"),
        ("sure", ["style"], "cannot do without 'style', because it was trained without 'block_dropout'"),
    ],
)
def test_blocks_that_cannot_be_left_out_are_refused(
    saved: Path, name: str, without: list[str], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        PersonalizedReward.load(saved / name, cache=saved / "cache", without=without)


def test_what_a_reward_notes_of_a_block_cannot_be_changed(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved / "reward", tmp_path / "reward")
    path = tmp_path / "reward" / "config.json"
    text = path.read_text()
    for change in ([17, "x"], [0, "x"], [10**9, "x"], ["16", "x"], [16]):
        stored = json.loads(text)
        stored["blocks"]["sentence_other"] = change
        path.write_text(json.dumps(stored))
        with pytest.raises(CheckpointError):
            PersonalizedReward.load(tmp_path / "reward", cache=saved / "cache", without="sentence_other")
