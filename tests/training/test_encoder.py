"""Adapters of the text encoder, meta-trained with a scorer."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_encoder import write_encoder
from tiny_run import tiny_config

from fspo_jax.checkpoints import read_adapters, read_reward
from fspo_jax.config import (
    ApprovalConfig,
    EncoderConfig,
    HiddenLayerConfig,
    SentenceConfig,
    StyleConfig,
    TrainConfig,
)
from fspo_jax.data.episodes import EpisodeTable, index_items
from fspo_jax.errors import CheckpointError, ConfigError, EncoderError, TrainingInterrupted
from fspo_jax.models.encoders.contract import Encoder
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.partitioning import make_mesh
from fspo_jax.reward import PersonalizedReward
from fspo_jax.training.fit import Progress, fit
from fspo_jax.training.tasks.adapted_encoder import AdaptedEncoder, read_items
from fspo_jax.training.tasks.adapters import AdaptersTask
from fspo_jax.types import Preference, User

FEATURES = (SentenceConfig(), HiddenLayerConfig(layer=1), ApprovalConfig(), StyleConfig())


@pytest.fixture(scope="session")
def encoder_config(tmp_path_factory: pytest.TempPathFactory) -> EncoderConfig:
    root = tmp_path_factory.mktemp("encoder")
    directory = write_encoder(root / "bert")
    return EncoderConfig(str(directory), adapter_rank=2, adapter_layers=1, cache=str(root / "cache"))


@pytest.fixture(scope="session")
def featurizer(encoder_config: EncoderConfig) -> Featurizer:
    return make_featurizer(encoder_config, FEATURES)


@pytest.fixture(scope="session")
def adapted_run(
    encoder_config: EncoderConfig, featurizer: Featurizer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run of adapters from start to end. Read only."""
    run = tmp_path_factory.mktemp("adapters") / "run"
    fit(AdaptersTask(config_of(encoder_config), featurizer, *world(0), *world(1)), run)
    return run


def config_of(encoder_config: EncoderConfig, **changes: object) -> TrainConfig:
    config = tiny_config(steps=12, steps_per_dispatch=2, evaluate_every=4, **changes)
    return dataclasses.replace(config, encoder=encoder_config, features=FEATURES)


def world(seed: int, users: int = 8) -> tuple[list[tuple[str, str]], EpisodeTable]:
    """Users who like texts about cats, or about dogs."""
    generator = np.random.default_rng(seed)
    words = "the a sat on mat ran far away and is good bad".split()

    def text(animal: str) -> str:
        return " ".join([*generator.choice(words, generator.integers(1, 12)), animal])

    made = []
    for u in range(users):
        liked, other = (("cat", "dog"), ("dog", "cat"))[u % 2]
        pairs = [Preference("?", text(liked), text(other)) for _ in range(8)]
        made.append(User(f"u{u}", tuple(dict.fromkeys(pairs))))
    return index_items(made)  # type: ignore[return-value]


def some_adapters(of: Featurizer | Encoder, layers: int = 1) -> dict:
    """Adapters away from zero, where they would change nothing."""

    @jax.jit
    def make() -> dict:
        adapters = of.init_adapters(jax.random.key(0), 2, layers)
        return jax.tree.map(
            lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(7), leaf.shape), adapters
        )

    return make()


@pytest.mark.parametrize("layers", [1, 2])
def test_adapters_beside_the_matrices_equal_adapters_merged_into_them(
    featurizer: Featurizer, layers: int
) -> None:
    encoder = featurizer.encoder
    adapters = some_adapters(encoder, layers)
    ids, lengths = np.array([[2, 5, 6, 3], [2, 7, 3, 0]], np.int32), np.array([4, 3], np.int32)
    forward = jax.jit(lambda params: encoder.forward(params, ids, lengths, layers=(1,)))
    beside, merged, plain = (
        np.asarray(forward(params))
        for params in (
            encoder.join(encoder.params, adapters),
            jax.jit(encoder.merge)(encoder.params, adapters),
            encoder.params,
        )
    )
    np.testing.assert_allclose(beside, merged, atol=1e-5)
    assert np.abs(plain - merged).max() > 1e-3


def test_adapters_of_more_layers_than_the_encoder_has_raise(featurizer: Featurizer) -> None:
    with pytest.raises(
        EncoderError, match="adapters of 3 layers are not possible, because the encoder has 2"
    ):
        featurizer.init_adapters(jax.random.key(0), 2, 3)


def test_features_in_training_equal_those_of_serving(
    encoder_config: EncoderConfig, featurizer: Featurizer
) -> None:
    items, _ = world(0)
    adapters = some_adapters(featurizer)
    trained = AdaptedEncoder(featurizer, make_mesh(1)).features(adapters, read_items(featurizer, items))
    # Serving reads all windows of a text, training the first: compare those that have one.
    served = featurizer.adapted(adapters)(*zip(*items, strict=True))
    short = [len(response.split()) <= 10 for _, response in items]
    assert sum(short) > 20
    np.testing.assert_allclose(trained[short], served[short], atol=2e-4)


def test_approval_is_a_reading_of_the_embedding_and_zero_without_adapters(
    encoder_config: EncoderConfig, featurizer: Featurizer
) -> None:
    items, _ = world(0)
    items = items[:6]
    place = featurizer.dimension - featurizer.blocks["style"] - 1
    plain = featurizer(*zip(*items, strict=True))
    assert np.all(plain[:, place] == 0) and plain.shape == (6, featurizer.dimension)
    adapters = some_adapters(featurizer)
    rows = featurizer.adapted(adapters)(*zip(*items, strict=True))
    expected = rows[:, : featurizer.encoder.dimension] @ np.asarray(adapters["approval"])
    np.testing.assert_allclose(rows[:, place], expected, rtol=1e-5)
    np.testing.assert_array_equal(rows[:, place + 1 :], plain[:, place + 1 :])  # style knows no adapters
    without = tuple(block for block in FEATURES if block != ApprovalConfig())
    assert make_featurizer(encoder_config, without).fingerprint != featurizer.fingerprint


@pytest.mark.slow
def test_adapters_learn_at_their_own_rate(
    encoder_config: EncoderConfig, featurizer: Featurizer, tmp_path: Path
) -> None:
    def trained(rate: float) -> tuple[float, np.ndarray]:
        """How far the adapters went, and all parameters of the scorer."""
        config = config_of(encoder_config)
        config = dataclasses.replace(
            config,
            steps=2,
            evaluate_every=2,
            optimizer=dataclasses.replace(config.optimizer, warmup_steps=1),
            encoder=dataclasses.replace(config.encoder, adapter_learning_rate=rate),
        )
        run = fit(AdaptersTask(config, featurizer, *world(0), *world(1)), tmp_path / str(rate))
        adapters = read_adapters(run)
        assert adapters is not None
        scorer = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(read_reward(run)[0])])
        return float(np.abs(adapters["up_proj"]["lora_b"]).max()), scorer

    (slow, one), (fast, other) = trained(1e-4), trained(1e-3)
    np.testing.assert_allclose(fast, 10 * slow, rtol=0.05)
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_gradient_batch_by_batch_equals_the_gradient_in_one_piece(
    encoder_config: EncoderConfig, featurizer: Featurizer
) -> None:
    items, _ = world(0)
    texts = read_items(featurizer, items)
    adapters = some_adapters(featurizer)
    encoder = AdaptedEncoder(featurizer, make_mesh(1))
    chosen = np.array([3, 10, 11, 40, 57])
    weights = (
        np.random.default_rng(0)
        .normal(size=(5, featurizer.dimension - texts.columns.shape[1]))
        .astype(np.float32)
    )

    def loss_gradient(vectors: jax.Array, places: np.ndarray) -> tuple[None, jax.Array]:
        return None, jax.grad(lambda v: (jnp.sin(v[places]) * weights).sum())(vectors)

    _, gradient = encoder.gradient(adapters, texts, chosen, loss_gradient)

    def loss(adapters: dict) -> float:
        rows = encoder.features(adapters, texts)[chosen, : weights.shape[1]]
        return float((np.sin(rows.astype(np.float64)) * weights).sum())

    direction = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(3), leaf.shape), adapters)
    step = 1e-2
    ahead, back = (
        loss(jax.tree.map(lambda leaf, d, sign=sign: leaf + sign * step * d, adapters, direction))
        for sign in (1, -1)
    )
    along = sum(
        float((g * d).sum()) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    )
    np.testing.assert_allclose(along, (ahead - back) / (2 * step), rtol=0.03)


@pytest.mark.slow
def test_run_learns_exports_adapters_and_serves(
    encoder_config: EncoderConfig, featurizer: Featurizer, tmp_path: Path
) -> None:
    config = config_of(encoder_config)
    losses: list[float] = []
    run = tmp_path / "run"
    config = dataclasses.replace(config, steps=60, evaluate_every=20)
    task = AdaptersTask(config, featurizer, *world(0), *world(1))
    fit(task, run, on_progress=lambda p: losses.append(p.loss))
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    adapters = read_adapters(run)
    assert (
        adapters is not None and max(np.abs(leaf).max() for leaf in jax.tree.leaves(adapters["up_proj"])) > 0
    )
    reward = PersonalizedReward.load(run)
    assert reward.fingerprint != featurizer.fingerprint
    ana = reward.adapt([Preference("?", "the cat sat", "the dog sat")])
    chosen, rejected = ana.score("?", ["a cat ran far", "a dog ran far"])
    assert chosen > rejected
    reward.save(tmp_path / "copy")
    np.testing.assert_array_equal(
        PersonalizedReward.load(tmp_path / "copy").adapt(()).score("?", ["a cat"]),
        reward.adapt(()).score("?", ["a cat"]),
    )


@pytest.mark.slow
def test_run_that_is_stopped_and_resumed_ends_with_the_same_parameters(
    encoder_config: EncoderConfig, featurizer: Featurizer, adapted_run: Path, tmp_path: Path
) -> None:
    config = config_of(encoder_config)
    arguments = (config, featurizer, *world(0), *world(1))

    def stop(progress: Progress) -> None:
        if progress.step == 6:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(TrainingInterrupted):
        fit(AdaptersTask(*arguments), tmp_path / "parts", on_progress=stop)
    fit(AdaptersTask(*arguments), tmp_path / "parts", resume=True)
    jax.tree.map(np.testing.assert_array_equal, read_adapters(adapted_run), read_adapters(tmp_path / "parts"))


@pytest.mark.slow
def test_train_begins_with_the_frozen_encoder_and_trains_the_population_on_the_adapted_one(
    encoder_config: EncoderConfig, featurizer: Featurizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fspo_jax.training.train import train

    def users_of(split: str) -> list[User]:
        generator = np.random.default_rng(len(split))
        pairs = [
            tuple(f"{animal} {i} {generator.integers(9)}" for animal in ("cat", "dog")) for i in range(8)
        ]
        return [
            User(f"{split}{u}", tuple(Preference("?", *(p if u % 2 else p[::-1])) for p in pairs))
            for u in range(4)
        ]

    monkeypatch.setattr(
        "fspo_jax.data.build.load_splits",
        lambda config, splits, **_: {split: users_of(split) for split in splits},
    )
    config = config_of(encoder_config)
    config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, frozen_steps=8))
    train(config, tmp_path / "run")
    rewards = [PersonalizedReward.load(tmp_path / "run" / part) for part in ("", "population", "frozen")]
    prints = [reward.scoring.featurizer.fingerprint for reward in rewards]
    assert prints[0] == prints[1] != prints[2] == featurizer.fingerprint
    assert train(config, tmp_path / "run", resume=True) == tmp_path / "run" / "reward"


def test_adapters_of_a_run_without_adapters_raise(
    encoder_config: EncoderConfig, featurizer: Featurizer, tmp_path: Path
) -> None:
    from fspo_jax.training.train import encoder_features

    reward = PersonalizedReward.from_parts(config_of(encoder_config), *_untrained(encoder_config, featurizer))
    reward.save(tmp_path / "reward")
    config = dataclasses.replace(encoder_config, adapters=str(tmp_path / "reward"), adapter_rank=0)
    with pytest.raises(CheckpointError, match="no adapters"):
        encoder_features(config, FEATURES)


@pytest.mark.slow
def test_adapters_of_other_weights_or_damaged_raise(
    encoder_config: EncoderConfig, adapted_run: Path, tmp_path: Path
) -> None:
    from fspo_jax.training.train import encoder_features

    run = Path(shutil.copytree(adapted_run / "reward", tmp_path / "reward"))
    config = dataclasses.replace(encoder_config, adapters=str(run), adapter_rank=0)
    items = [("?", "a cat"), ("?", "a dog")]
    served = PersonalizedReward.load(run).scoring.featurizer  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        encoder_features(config, FEATURES)(*zip(*items, strict=True)), served(*zip(*items, strict=True))
    )
    other = dataclasses.replace(config, model=str(write_encoder(tmp_path / "other", seed=1)))
    with pytest.raises(ConfigError, match="trained on other weights"):
        encoder_features(other, FEATURES)
    tensors = load_file(run / "encoder.safetensors")
    save_file({name: leaf + 1 for name, leaf in tensors.items()}, run / "encoder.safetensors")
    with pytest.raises(CheckpointError, match="was meta-trained on features"):
        encoder_features(config, FEATURES)


def test_adapters_of_more_layers_than_there_are_raise(
    encoder_config: EncoderConfig, featurizer: Featurizer, tmp_path: Path
) -> None:
    config = config_of(encoder_config)
    config = dataclasses.replace(config, encoder=dataclasses.replace(config.encoder, adapter_layers=9))
    with pytest.raises(ConfigError, match=r"'encoder\.adapter_layers' is 9, but"):
        fit(AdaptersTask(config, featurizer, *world(0), *world(1)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def _untrained(encoder_config: EncoderConfig, featurizer: Featurizer) -> tuple[dict, Featurizer]:
    from fspo_jax.models.scorers.make import make_scorer

    config = config_of(encoder_config)
    return make_scorer(config.scorer, featurizer.blocks).init(jax.random.key(0)), featurizer


def test_adapters_that_are_frozen_and_trained_at_once_are_refused(
    encoder_config: EncoderConfig, featurizer: Featurizer
) -> None:
    from fspo_jax.config import config_from_dict, config_to_dict

    plain = config_to_dict(config_of(encoder_config))
    plain["encoder"]["adapters"] = "runs/other"
    with pytest.raises(ConfigError, match=r"'encoder\.adapters' are not trained"):
        config_from_dict(plain)
