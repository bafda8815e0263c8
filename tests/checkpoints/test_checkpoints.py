"""Exported rewards and saved users: whole, checked, and refused with a reason when they are not."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fspo_jax.checkpoints import (
    FORMAT_VERSION,
    read_reward,
    read_user,
    reward_fingerprint,
    tree_digest,
    write_reward,
    write_user,
)
from fspo_jax.checkpoints.files import nested, shape_faults, write_whole
from fspo_jax.config import (
    DataConfig,
    EpisodeConfig,
    OptimizerConfig,
    PersonaSource,
    PopulationConfig,
    PreferentialGPConfig,
    ScorerConfig,
    SetTransformerConfig,
    TrainConfig,
)
from fspo_jax.errors import CheckpointError, ConfigError
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.shipped import reward_names


def config_of(scorer: ScorerConfig, max_context: int = 4) -> TrainConfig:
    return TrainConfig(
        seed=1,
        steps=10,
        objective="bradley_terry",
        data=DataConfig(sources=(PersonaSource(seed=0, personas=8, prompts=8),)),
        scorer=scorer,
        optimizer=OptimizerConfig(1e-3),
        episodes=EpisodeConfig(max_context=max_context),
    )


POPULATION = config_of(PopulationConfig(kind="population", hidden=4))


def params_of(config: TrainConfig, seed: int = 0) -> dict:
    return make_scorer(config.scorer, {"f": 12}).init(jax.random.key(seed))


@pytest.fixture
def reward(tmp_path: Path) -> Path:
    directory = tmp_path / "runs" / "a" / "reward"
    write_reward(
        directory,
        params_of(POPULATION),
        POPULATION,
        featurizer_fingerprint="features-1",
        validation={"log_loss": 0.5},
    )
    return directory


def test_a_config_that_could_not_be_read_is_not_written(tmp_path: Path, reward: Path):
    config = dataclasses.replace(POPULATION, optimizer=OptimizerConfig(-1.0))
    for directory in (tmp_path / "new", reward):
        with pytest.raises(ConfigError, match=r"'optimizer.learning_rate' must be a number above 0"):
            write_reward(directory, params_of(config), config, featurizer_fingerprint="features-1")
    assert not (tmp_path / "new").exists() and read_reward(reward)


@pytest.mark.parametrize(
    "scorer",
    [
        PreferentialGPConfig(kind="preferential_gp", hidden=4, width=2),
        SetTransformerConfig(kind="set_transformer", width=8, heads=2, layers=2),
        PopulationConfig(kind="population", hidden=4),
    ],
    ids=lambda scorer: scorer.kind,
)
def test_write_reward_then_read_reward_gives_the_same_params_and_metadata(
    tmp_path: Path, scorer: ScorerConfig
):
    config = config_of(scorer)
    params = params_of(config)
    write_reward(
        tmp_path / "r", params, config, featurizer_fingerprint="features-1", validation={"log_loss": 0.5}
    )
    read, metadata = read_reward(tmp_path / "r")
    assert jax.tree.structure(read) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape and np.array_equal(a, b), read, params))
    assert metadata.config == config
    assert metadata.featurizer_fingerprint == "features-1"
    assert metadata.validation == {"log_loss": 0.5}
    assert metadata.fingerprint == reward_fingerprint(params, config, "features-1")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["config.json", "model.safetensors", "r"]


def test_write_reward_over_a_reward_replaces_it_and_leaves_nothing_else(reward: Path):
    other = params_of(POPULATION, seed=1)
    write_reward(reward, other, POPULATION, featurizer_fingerprint="features-1")
    read, _ = read_reward(reward)
    assert jax.tree.all(jax.tree.map(np.array_equal, read, other))
    assert [path.name for path in reward.parent.iterdir()] == ["reward"]


def test_write_reward_over_something_else_is_checkpoint_error_and_keeps_it(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("dear")
    for path in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.txt"):
        with pytest.raises(CheckpointError, match="Choose a new or an empty directory"):
            write_reward(path, params_of(POPULATION), POPULATION, featurizer_fingerprint="features-1")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "dear"


def test_write_reward_on_a_full_disk_is_checkpoint_error_and_keeps_the_old_one(reward: Path, small_disk):
    before = read_reward(reward)[1].fingerprint
    for path in (reward, reward.with_name("new")):
        with small_disk(100), pytest.raises(CheckpointError, match="the reward was not saved"):
            write_reward(path, params_of(POPULATION, seed=1), POPULATION, featurizer_fingerprint="features-1")
    assert read_reward(reward)[1].fingerprint == before
    assert [path.name for path in reward.parent.iterdir()] == ["reward"]


@pytest.mark.parametrize("interrupted", [0, 1])
def test_write_reward_interrupted_keeps_the_old_one_and_leaves_nothing_else(
    reward: Path, monkeypatch, interrupted
):
    before, renamed, calls = read_reward(reward)[1], Path.rename, itertools.count()

    def rename(self: Path, target: Path) -> Path:
        if next(calls) == interrupted:
            raise KeyboardInterrupt
        return renamed(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write_reward(reward, params_of(POPULATION, seed=1), POPULATION, featurizer_fingerprint="features-1")
    assert read_reward(reward)[1] == before
    assert list(reward.parent.iterdir()) == [reward]


def test_read_reward_of_a_run_directory_gives_its_exported_reward(reward: Path):
    assert read_reward(reward.parent)[1] == read_reward(reward)[1]


def test_read_reward_of_a_run_without_export_says_how_to_resume(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match=r"has not finished.*`fspo train --resume`"):
        read_reward(tmp_path)


def test_read_reward_of_a_path_that_is_not_a_checkpoint_says_what_it_found(tmp_path: Path):
    (tmp_path / "file").write_text("x" * 1234)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    (tmp_path / "nothing").mkdir()
    for name, found in {
        "file": "a file of 1,234 bytes",
        "photos": "a directory with cat.png",
        "nothing": "an empty directory",
    }.items():
        with pytest.raises(
            CheckpointError,
            match=f"{name}: {found}, not a checkpoint. Give {', '.join(reward_names())}, a run",
        ):
            read_reward(tmp_path / name)
    names = ", ".join(reward_names())
    with pytest.raises(CheckpointError, match=rf"missing: no such reward\. Give {names}, a run"):
        read_reward(tmp_path / "missing")


def rewrite(reward: Path, **changes: object) -> None:
    path = reward / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_read_reward_of_another_format_version_names_both(reward: Path):
    rewrite(reward, format_version=FORMAT_VERSION + 1, fspo_jax="9.0")
    message = (
        f"has format version {FORMAT_VERSION + 1}, but this fspo_jax reads version {FORMAT_VERSION}. "
        "Train the reward again, or install fspo_jax 9.0, which wrote it"
    )
    with pytest.raises(CheckpointError, match=message):
        read_reward(reward)


def test_missing_unknown_and_misshapen_tensors_are_named(reward: Path):
    path = reward / "model.safetensors"
    tensors = load_file(path)
    tensors["linear/kernel"] = tensors["linear/kernel"].T.copy()
    tensors["extra"] = tensors.pop("hidden/bias")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="damaged or were edited"):
        read_reward(reward)
    assert shape_faults(nested(tensors), params_of(POPULATION)) == [
        "hidden/bias is missing",
        "extra is unknown",
        "linear/kernel is float32 [1, 12], not float32 [12, 1]",
    ]


@pytest.mark.parametrize("at", [0, 100, -1])
def test_read_reward_with_one_changed_byte_of_tensors_is_checkpoint_error(reward: Path, at: int):
    path = reward / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=str(reward)):
        read_reward(reward)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_read_reward_with_a_cut_file_is_checkpoint_error(reward: Path, name: str):
    data = (reward / name).read_bytes()
    for length in (0, len(data) // 2, len(data) - 1):
        (reward / name).write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=name):
            read_reward(reward)


def test_read_reward_with_an_edited_config_is_checkpoint_error(reward: Path):
    config = json.loads((reward / "config.json").read_text())["config"]
    config["episodes"]["max_context"] = 99
    rewrite(reward, config=config)
    with pytest.raises(CheckpointError, match="damaged or were edited"):
        read_reward(reward)


def test_reward_fingerprint_changes_with_all_that_decides_a_reward():
    params = params_of(POPULATION)
    nudged = jax.tree.map(lambda leaf: leaf.at[(0,) * leaf.ndim].add(1e-6), params)
    fingerprints = {
        reward_fingerprint(params, POPULATION, "f"),
        reward_fingerprint(nudged, POPULATION, "f"),
        reward_fingerprint(params, config_of(POPULATION.scorer, max_context=5), "f"),
        reward_fingerprint(params, config_of(PopulationConfig(kind="population", hidden=5)), "f"),
        reward_fingerprint(params, POPULATION, "g"),
    }
    assert len(fingerprints) == 5
    assert reward_fingerprint(params_of(POPULATION), POPULATION, "f") in fingerprints


def test_tree_digest_depends_on_names_types_shapes_and_values_but_not_on_order():
    zeros = jnp.zeros((2, 3))
    digests = [
        tree_digest(tree)
        for tree in (
            {"a": zeros},
            {"b": zeros},
            {"a": zeros.T},
            {"a": zeros.astype(jnp.int32)},
            {"a": zeros.at[0, 0].set(-0.0)},
            {"a": zeros, "b": zeros},
        )
    ]
    assert len(set(digests)) == len(digests)
    assert tree_digest({"b": zeros, "a": zeros}) == digests[-1]
    assert tree_digest({"a": zeros}, {"step": 1}) not in digests


@pytest.mark.parametrize("shots", [0, 3])
def test_write_user_then_read_user_gives_the_same_context(tmp_path: Path, shots: int):
    context = np.random.default_rng(0).normal(size=(shots, 2, 5)).astype(np.float32)
    write_user(tmp_path / "users" / "ana", {"context": context}, fingerprint="base")
    write_user(
        tmp_path / "users" / "ana", {"context": context}, fingerprint="base"
    )  # a user is updated and saved again
    np.testing.assert_array_equal(
        read_user(tmp_path / "users" / "ana", fingerprint="base")["context"], context
    )
    assert [path.name for path in (tmp_path / "users").iterdir()] == ["ana"]


def test_read_user_of_another_base_names_both(tmp_path: Path):
    write_user(tmp_path / "ana", {"context": np.zeros((1, 2, 3))}, fingerprint="a" * 64)
    with pytest.raises(
        CheckpointError, match="was saved with reward aaaaaaaaaaaa, but this reward is bbbbbbbbbbbb"
    ):
        read_user(tmp_path / "ana", fingerprint="b" * 64)


def test_read_user_of_what_is_not_a_user_says_what_it_found(tmp_path: Path, reward: Path):
    with pytest.raises(CheckpointError, match="no such file or directory, not a saved user"):
        read_user(tmp_path / "missing")
    with pytest.raises(
        CheckpointError, match=r"a directory with config.json, model.safetensors, not a saved user"
    ):
        read_user(reward)
    with pytest.raises(CheckpointError, match="a safetensors file, but not a saved user"):
        read_user(reward / "model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_user(reward / "config.json")


def test_read_user_of_another_version_or_damaged_is_checkpoint_error(tmp_path: Path):
    path = tmp_path / "ana"
    context = np.zeros((1, 2, 3), np.float32)
    save_file({"context": context}, path, {"kind": "user", "format_version": "0", "fingerprint": "f"})
    with pytest.raises(
        CheckpointError, match=f"has format version 0, but fspo_jax reads version {FORMAT_VERSION}"
    ):
        read_user(path)
    path.unlink()
    write_user(path, {"context": context}, fingerprint="f")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="its digest is wrong"):
        read_user(path)
    path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_user(path)


def test_write_user_over_something_else_is_checkpoint_error_and_keeps_it(tmp_path: Path):
    (tmp_path / "notes").write_text("dear")
    with pytest.raises(CheckpointError):
        write_user(tmp_path / "notes", {"context": np.zeros((1, 2, 3))}, fingerprint="f")
    assert (tmp_path / "notes").read_text() == "dear"


def test_write_user_on_a_full_disk_is_checkpoint_error_and_keeps_the_old_one(tmp_path: Path, small_disk):
    write_user(tmp_path / "ana", {"context": np.zeros((1, 2, 3))}, fingerprint="f")
    with small_disk(100), pytest.raises(CheckpointError, match="the user was not saved"):
        write_user(tmp_path / "ana", {"context": np.ones((9, 2, 3))}, fingerprint="f")
    np.testing.assert_array_equal(read_user(tmp_path / "ana")["context"], np.zeros((1, 2, 3)))
    assert [path.name for path in tmp_path.iterdir()] == ["ana"]


def test_write_whole_twice_at_once_keeps_each_file_whole(tmp_path: Path):
    path = tmp_path / "ana"

    def meanwhile(name: str, flags: int) -> int:
        opened = os.open(name, flags, 0o600)
        write_whole(path, b"the other one")
        return opened

    write_whole(path, b"this one", meanwhile)
    assert path.read_bytes() == b"this one" and list(tmp_path.iterdir()) == [path]
