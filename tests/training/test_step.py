"""The loss, the optimizer and one step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_run import FEATURES, tiny_config, tiny_world

from fspo_jax.config import OptimizerConfig, PopulationConfig, ScorerConfig, TrainConfig
from fspo_jax.errors import ConfigError
from fspo_jax.losses import bradley_terry, ipo
from fspo_jax.models.scorers.contract import Scorer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.partitioning import make_mesh, replicated
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.sampling import make_sampler, sample_episodes
from fspo_jax.training.state import TrainState, first_state, random_keys
from fspo_jax.training.tasks.head_step import (
    drop_features,
    episode_loss,
    gather,
    kept_columns,
    make_dispatch,
    make_loss,
    make_step,
)
from fspo_jax.types import Episode

LINEAR = Scorer(
    init=lambda key: {"w": jnp.ones(2)},
    represent=lambda params, features: features,
    encode_context=lambda params, context, mask: jnp.zeros(()),
    score=lambda params, state, candidates: candidates @ params["w"],
    variance=None,
)


jitted_loss = jax.jit(episode_loss, static_argnums=(0, 1))


def episodes(query_mask: np.ndarray) -> Episode:
    rng = np.random.default_rng(0)
    users, queries = query_mask.shape
    return Episode(
        context=np.zeros((users, 1, 2, 2), np.float32),
        context_mask=np.zeros((users, 1), bool),
        queries=rng.normal(size=(users, queries, 2, 2)).astype(np.float32),
        query_mask=query_mask,
    )


def test_episode_loss_with_masked_queries_is_mean_over_queries_then_over_episodes_with_any():
    episode = episodes(np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], bool))
    margins = (episode.queries[:, :, 0] - episode.queries[:, :, 1]).sum(-1)
    losses = np.log1p(np.exp(-margins))
    expected = (losses[0].mean() + losses[1, 0]) / 2
    loss = jitted_loss(LINEAR, bradley_terry, {"w": jnp.ones(2)}, episode)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_episode_loss_when_masked_queries_change_stays_the_same_with_its_gradient():
    episode = episodes(np.array([[1, 0], [0, 0]], bool))
    other = episode._replace(queries=np.where(episode.query_mask[..., None, None], episode.queries, 1e3))
    loss = jax.jit(
        jax.value_and_grad(lambda params, given: episode_loss(LINEAR, bradley_terry, params, given))
    )
    params = {"w": jnp.array([0.3, -0.7])}
    assert jax.tree.all(jax.tree.map(np.array_equal, loss(params, episode), loss(params, other)))


def test_episode_loss_with_posterior_variance_shrinks_margins():
    variance = 4.0
    unsure = LINEAR._replace(variance=lambda params, state, a, b: jnp.full(len(a), variance))
    episode = episodes(np.ones((2, 3), bool))
    margins = (episode.queries[:, :, 0] - episode.queries[:, :, 1]).sum(-1)
    expected = np.log1p(np.exp(-margins / np.sqrt(1 + np.pi * variance / 8))).mean()
    loss = jitted_loss(unsure, bradley_terry, {"w": jnp.ones(2)}, episode)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_drop_features_zeroes_the_share_and_keeps_the_mean():
    episode = Episode(
        np.ones((8, 4, 2, 64)), np.ones((8, 4), bool), np.ones((8, 3, 2, 64)), np.ones((8, 3), bool)
    )
    dropped = jax.jit(drop_features, static_argnums=2)(jax.random.key(0), episode, 0.25)
    for rows in (dropped.context, dropped.queries):
        np.testing.assert_allclose(np.unique(rows), [0.0, 1 / 0.75], rtol=1e-6)
        assert abs(float((rows == 0).mean()) - 0.25) < 0.02  # six deviations
    assert not np.array_equal(dropped.context[:, :3], dropped.queries)


def step_of(config: TrainConfig, scorer: Scorer, optimizer: Any, devices: int = 1) -> Any:
    sample = make_sampler(config, tiny_world(1)[0])
    return make_step(sample, make_loss(config, scorer), optimizer, make_mesh(devices))


def start_of(config: TrainConfig, scorer: Scorer, optimizer: Any) -> TrainState:
    return jax.jit(lambda: first_state(scorer.init(random_keys(config.seed)[0]), optimizer))()


def test_kept_columns_drop_whole_blocks():
    blocks = {"a": 3, "b": 1, "c": 4}
    keys = jax.random.split(jax.random.key(0), 500)
    columns = np.asarray(jax.jit(jax.vmap(lambda key: kept_columns(key, blocks, 0.3)))(keys))
    kept = columns[:, [0, 3, 4]]
    np.testing.assert_array_equal(columns, np.repeat(kept, [*blocks.values()], axis=1))
    np.testing.assert_allclose(kept.mean(0), 0.7, atol=0.07)
    assert len(np.unique(kept, axis=0)) == 8


def test_step_with_block_dropout_changes_the_loss():
    scorer = make_scorer(PopulationConfig(kind="population", hidden=4), {"features": FEATURES})
    table, features = tiny_world(1)
    config = tiny_config(scorer=PopulationConfig(kind="population", hidden=4), block_dropout=0.99)
    rows = jax.device_get(make_sampler(config, table)(jnp.int32(0), table)).episode
    loss = make_loss(config, scorer, {"features": FEATURES})
    params = scorer.init(jax.random.key(0))
    np.testing.assert_allclose(
        loss(params, rows, jnp.asarray(features), jnp.int32(0)), np.log(2.0), rtol=1e-6
    )
    assert (
        abs(make_loss(config, scorer)(params, rows, jnp.asarray(features), jnp.int32(0)) - np.log(2.0)) > 1e-4
    )


def test_step_with_feature_dropout_changes_the_loss():
    scorer = make_scorer(PopulationConfig(kind="population", hidden=4), {"features": FEATURES})
    table, features = tiny_world(1)
    losses = []
    for dropout in (0.0, 0.5):
        config = tiny_config(scorer=PopulationConfig(kind="population", hidden=4), feature_dropout=dropout)
        optimizer = make_optimizer(config.optimizer, config.steps)
        step = jax.jit(step_of(config, scorer, optimizer))
        state = start_of(config, scorer, optimizer)
        losses.append(float(step(state, table, jnp.asarray(features))[1].loss))
    assert losses[0] != losses[1]


def parts(steps: int, scorer: ScorerConfig, devices: int = 1):
    config = tiny_config(scorer=scorer)
    mesh = make_mesh(devices)
    scorer = make_scorer(config.scorer, {"features": FEATURES})
    optimizer = make_optimizer(config.optimizer, config.steps)
    table, features = jax.device_put(tiny_world(1), replicated(mesh))
    state = jax.device_put(start_of(config, scorer, optimizer), replicated(mesh))
    return make_dispatch(step_of(config, scorer, optimizer, devices), steps, mesh), state, table, features


@pytest.mark.parametrize(("name", "objective"), [("bradley_terry", bradley_terry), ("ipo", ipo)])
def test_step_loss_is_the_objective_on_episodes_of_seed_and_step(name: str, objective: Callable):
    config = tiny_config(objective=name, scorer=PopulationConfig(kind="population", hidden=4))
    scorer = make_scorer(config.scorer, {"features": FEATURES})
    optimizer = make_optimizer(config.optimizer, config.steps)
    table, features = tiny_world(1)
    state = start_of(config, scorer, optimizer)._replace(step=jnp.int32(7))
    step = jax.jit(step_of(config, scorer, optimizer))
    after, metrics = step(state, table, jnp.asarray(features))

    @jax.jit
    def expected(params: Any) -> jax.Array:
        key = jax.random.fold_in(random_keys(config.seed)[1], 7)
        rows = sample_episodes(key, table, config.episodes).episode
        return episode_loss(scorer, objective, params, gather(rows, jnp.asarray(features)))

    np.testing.assert_allclose(metrics.loss, expected(state.params), rtol=1e-5)
    assert int(after.step) == 8
    assert float(metrics.gradient_norm) > 0


def test_dispatch_called_again_and_again_compiles_once_and_donates_its_state():
    dispatch, state, table, features = parts(5, tiny_config().scorer)
    for _ in range(3):
        given = state
        state, metrics = dispatch(state, table, features)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given))
    assert dispatch._cache_size() == 1
    assert int(state.step) == 15
    assert metrics.loss.shape == (5,)


def test_dispatch_of_two_and_three_steps_equals_one_of_five():
    cheap = PopulationConfig(kind="population", hidden=4)
    five, state, table, features = parts(5, cheap)
    expected, metrics = five(state, table, features)
    two, state, *_ = parts(2, cheap)
    three, *_ = parts(3, cheap)
    state, first = two(state, table, features)
    state, second = three(state, table, features)
    assert jax.tree.all(jax.tree.map(np.array_equal, state, expected))
    np.testing.assert_array_equal(np.concatenate([first.loss, second.loss]), metrics.loss)
    assert len(set(metrics.loss.tolist())) == 5  # every step has its own episodes


def test_make_optimizer_learning_rate_warms_up_and_decays_to_zero():
    peak, warmup, steps = 0.1, 4, 12
    optimizer = make_optimizer(OptimizerConfig(peak, warmup, weight_decay=0.0, clip_norm=1e9), steps)
    params = {"w": jnp.zeros((1, 1))}
    state = jax.jit(optimizer.init)(params)
    update = jax.jit(optimizer.update)
    sizes = []
    for _ in range(steps + 1):
        updates, state = update({"w": jnp.ones((1, 1))}, state, params)
        sizes.append(-float(updates["w"][0, 0]))  # Adam of a constant gradient moves by the learning rate
    warm = [peak * i / warmup for i in range(warmup)]
    decay = [peak * (1 + np.cos(np.pi * i / (steps - warmup))) / 2 for i in range(steps - warmup + 1)]
    np.testing.assert_allclose(sizes, warm + decay, atol=1e-6)


def test_make_optimizer_weight_decay_acts_on_matrices_only():
    optimizer = make_optimizer(OptimizerConfig(0.1, 0, weight_decay=0.5), 10)
    params = {"matrix": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(())}

    @jax.jit
    def moved(params: dict) -> dict:
        updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
        return optax.apply_updates(params, updates)

    moved = moved(params)
    np.testing.assert_allclose(moved["matrix"], 1 - 0.1 * 0.5, rtol=1e-6)
    assert float(moved["scale"]) == 1.0 and moved["bias"].tolist() == [1.0, 1.0]


def test_make_optimizer_warmup_as_long_as_the_run_is_config_error():
    with pytest.raises(ConfigError, match=r"warmup_steps' \(40\) must be less than 'steps' \(40\)"):
        make_optimizer(OptimizerConfig(0.1, 40), 40)


def test_make_mesh_of_more_devices_than_there_are_is_config_error():
    with pytest.raises(ConfigError, match=r"'devices' is 4096, but this machine has \d+ cpu device"):
        make_mesh(4096)


ON_DEVICES = """
import dataclasses, json, sys
from pathlib import Path
from typing import Any
from test_step import parts
from tiny_run import run_tiny, tiny_config
from fspo_jax.errors import ConfigError
dispatch, *arguments = parts(5, tiny_config().scorer, devices=8)
program = dispatch.lower(*arguments).compile().as_text()
losses = {"reductions": program.count(" all-reduce(") + program.count(" all-reduce-start(")}
for devices in (1, 2, 4, 8):
    seen = []
    config = tiny_config(devices=devices, steps=20)
    run_tiny(Path(sys.argv[1]) / str(devices), config, on_progress=lambda p: seen.append(p.loss))
    losses[devices] = seen
episodes = dataclasses.replace(tiny_config().episodes, batch_size=12)
try:
    run_tiny(Path(sys.argv[1]) / "odd", tiny_config(devices=0, episodes=episodes))
except ConfigError as error:
    losses["error"] = str(error)
print(json.dumps(losses))
"""


@pytest.mark.slow
def test_meta_train_on_1_2_4_and_8_devices_has_the_same_losses(
    tmp_path: Path, compiled_programs: dict[str, str]
):
    root = Path(__file__).parents[2]
    environment = compiled_programs | {
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{root}{os.pathsep}{Path(__file__).parent}",
    }
    ran = subprocess.run(
        [sys.executable, "-c", ON_DEVICES, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    losses = json.loads(ran.stdout)
    for devices in ("2", "4", "8"):
        np.testing.assert_allclose(losses[devices], losses["1"], atol=1e-5, rtol=0)
    assert losses["reductions"] > 0  # the batch is divided, not computed eight times
    assert "'episodes.batch_size' is 12, which cannot be divided over 8 devices" in losses["error"]
