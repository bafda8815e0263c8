from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from tiny_language import (
    language_world,
    log_probabilities,
    rewards,
    run_language,
    some_pairs,
    tiny_config,
    tiny_params,
    tiny_parts,
)

from fspo_jax.checkpoints.language import read_base
from fspo_jax.data.batches import Packer, RowBatch
from fspo_jax.errors import CheckpointError, ConfigError, LimitError
from fspo_jax.losses import bradley_terry
from fspo_jax.models.language.decoder.files import flat_params
from fspo_jax.partitioning import make_mesh
from fspo_jax.reward.load import Origin
from fspo_jax.reward.load_language import load_language_reward
from fspo_jax.text.packing import pack_episodes
from fspo_jax.training.prefetch import Prefetch
from fspo_jax.training.sampling import make_sampler
from fspo_jax.training.state import TrainState
from fspo_jax.training.tasks.language_step import References, batch_loss, batch_margins, make_language_step
from fspo_jax.training.tasks.language_stream import EpisodeStream

compiled_loss = jax.jit(batch_loss, static_argnums=(0, 1))

EPISODES = [(some_pairs(e, 3), some_pairs(10 + e, 2)) for e in range(6)]


def batch_of(parts, episodes=EPISODES) -> RowBatch:
    return RowBatch(pack_episodes(parts.template, episodes, parts.form).rows)


def one_step(config, parts, batch):
    params, frozen = tiny_params(parts)
    optimizer = optax.sgd(1.0)
    step = make_language_step(config, parts.model, optimizer, make_mesh(1))
    state = TrainState(params, optimizer.init(params), np.int32(0))
    return jax.jit(step)(state, frozen, batch)


@pytest.mark.parametrize(
    ("objective", "reward"), [("bradley_terry", "scalar"), ("dpo", "implicit"), ("sft", "implicit")]
)
def test_step_in_micro_batches_equals_the_large_batch(objective: str, reward: str) -> None:
    states = []
    for micro_batches in (1, 2):
        config = tiny_config(objective, reward, scorer={"micro_batches": micro_batches, "row_length": 256})
        parts = tiny_parts(config, rows=2)
        state, metrics = one_step(config, parts, batch_of(parts))
        states.append((state.params, metrics))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *states)
    assert float(states[0][1].gradient_norm) > 1e-3


def test_losses_follow_their_formulas() -> None:
    """On margins and log-probabilities that are computed here from the model's own rewards."""
    parts = tiny_parts(tiny_config("dpo", "implicit", scorer={"beta": 0.2}))
    params, frozen = tiny_params(parts, noise=0.2)
    batch = batch_of(parts)
    values = np.asarray(rewards(parts.model, params, frozen, batch.rows))
    margins = (values[..., 0] - values[..., 1])[batch.rows.weights > 0]
    assert np.abs(margins).max() > 0.01

    def loss(objective: str, sft_weight: float = 0.0, **scorer: float) -> float:
        config = tiny_config(objective, "implicit", scorer={"beta": 0.2, **scorer}, sft_weight=sft_weight)
        return float(compiled_loss(config, tiny_parts(config).model, params, frozen, batch))

    log_sigmoid = -np.log1p(np.exp(-margins))
    assert loss("dpo") == pytest.approx(-log_sigmoid.mean(), rel=1e-5)
    smoothed = -0.9 * log_sigmoid + 0.1 * np.log1p(np.exp(margins))
    assert loss("dpo", label_smoothing=0.1) == pytest.approx(smoothed.mean(), rel=1e-5)
    # IPO: the unscaled difference of log-ratios is drawn to 1 / (2 beta).
    assert loss("ipo") == pytest.approx(np.mean((margins / 0.2 - 1 / 0.4) ** 2), rel=1e-5)
    logs = np.asarray(log_probabilities(parts.model, params["decoder"], batch.rows))[..., 0]
    lengths = [[(row == 2 * p).sum() for p in range(logs.shape[1])] for row in batch.rows.owners]
    per_token = (logs / np.maximum(lengths, 1))[batch.rows.weights > 0]
    assert loss("sft") == pytest.approx(-per_token.mean(), rel=1e-5)
    for objective in ("dpo", "ipo"):
        expected = loss(objective) + 0.5 * loss("sft")
        assert loss(objective, sft_weight=0.5) == pytest.approx(expected, rel=1e-5)


def test_known_reference_log_probabilities_are_used() -> None:
    parts = tiny_parts(tiny_config("dpo", "implicit"))
    params, frozen = tiny_params(parts)
    batch = batch_of(parts)
    reference = log_probabilities(parts.model, parts.model.reference_of(frozen), batch.rows)
    compiled = jax.jit(batch_margins, static_argnums=0)
    margins, weights = compiled(parts.model, params, frozen, batch)
    known, _ = compiled(parts.model, params, {}, batch._replace(reference=reference))
    np.testing.assert_allclose(known, margins, atol=1e-6)
    assert np.abs(margins[weights > 0]).max() > 1e-3


def test_gaussian_process_batch_equals_scoring_the_users_one_by_one() -> None:
    config = tiny_config("bradley_terry", "gaussian_process", episodes={"batch_size": 5})
    parts = tiny_parts(config)
    params, frozen = tiny_params(parts)
    items, table = language_world(3)
    stream = EpisodeStream(
        Packer(items, parts.template, parts.form, True), table, make_sampler(config, table)
    )
    batch = stream.batch(0)
    assert batch.episode is not None and batch.episode.context_mask.any()

    @jax.jit
    def computed(batch: RowBatch):
        return (
            parts.model.process_margins(params, frozen, batch.rows, batch.episode),
            batch_margins(parts.model, params, frozen, batch),
            batch_loss(config, parts.model, params, frozen, batch),
        )

    (mean, variance), (margins, weights), loss = computed(batch)
    np.testing.assert_allclose(margins, mean / np.sqrt(1 + np.pi * variance / 8), rtol=1e-5)
    assert weights.sum() == pytest.approx(1.0)
    assert float(loss) == pytest.approx(float((weights * bradley_terry(margins)).sum()), rel=1e-5)
    # A single user alone, packed afresh, has the same margins.
    alone = Packer(items, parts.template, parts.form, True)
    episode = jax.device_get(jax.jit(make_sampler(config, table))(np.int32(0), table).episode)
    one, _ = alone.pack(jax.tree.map(lambda leaf: leaf[2:3], episode))
    (margin, _), _, _ = computed(one)
    mask = batch.episode.query_mask[2]
    np.testing.assert_allclose(margin[0][mask], mean[2][mask], atol=1e-4)


def test_stream_is_a_function_of_seed_and_step() -> None:
    config = tiny_config()
    parts = tiny_parts(config)
    items, table = language_world(3)

    def stream(seed: int) -> EpisodeStream:
        packer = Packer(items, parts.template, parts.form, False)
        return EpisodeStream(packer, table, make_sampler(dataclasses.replace(config, seed=seed), table))

    one, other = stream(0), stream(0)
    one.batch(0)
    jax.tree.map(np.testing.assert_array_equal, one.batch(7), other.batch(7))
    assert not np.array_equal(one.batch(8).rows.tokens, one.batch(7).rows.tokens)
    assert not np.array_equal(stream(1).batch(7).rows.targets, one.batch(7).rows.targets)
    assert 0 < one.tokens < one.row_tokens and one.dropped_shots == 0 < one.shots


def test_prefetch_gives_all_steps_in_order_and_raises_what_the_maker_raises() -> None:
    def make(step: int) -> int:
        if step == 6:
            raise ValueError("step six")
        return step

    batches = Prefetch(make, 2, 6, ahead=3)
    assert [batches.next() for _ in range(4)] == [2, 3, 4, 5]
    with pytest.raises(StopIteration):
        batches.next()
    with pytest.raises(ValueError, match="step six"):
        Prefetch(make, 6, 9).next()


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, undisturbed_language: Path
) -> Callable[[str, str], Path]:
    """A run of an objective and a reward, to be read only: each is trained once."""

    @functools.cache
    def run(objective: str, reward: str) -> Path:
        if (objective, reward) == ("bradley_terry", "scalar"):
            return undisturbed_language
        path = tmp_path_factory.mktemp("trained") / "run"
        run_language(path, tiny_config(objective, reward))
        return path

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "reward"),
    [
        ("sft", "implicit"),
        ("ipo", "implicit"),
        ("bradley_terry", "scalar"),
        ("bradley_terry", "gaussian_process"),
    ],
)
def test_run_exports_what_it_validated(
    trained: Callable[[str, str], Path], objective: str, reward: str
) -> None:
    run = trained(objective, reward)
    parts, params, frozen, metadata = load_language_reward(Origin(run / "reward"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    every = metadata.config.steps_per_dispatch
    assert [row["step"] for row in rows] == list(range(every, metadata.config.steps + 1, every))
    assert all(np.isfinite(row["loss"]) for row in rows)
    validations = [row["validation"] for row in rows if "validation" in row]
    assert metadata.validation == min(validations, key=lambda v: v["log_loss"])
    assert ("reference" in frozen) == (objective == "ipo")
    if reward != "gaussian_process":  # contexts may take what the longest pair leaves, then as in training
        assert metadata.config.scorer.context_length == parts.form.context_room > 256  # type: ignore[union-attr]
    assert parts.dimension == 16 and set(params) - {"decoder"} == {
        "implicit": set(), "scalar": {"reward"}, "gaussian_process": {"process"}
    }[reward]  # fmt: skip


@pytest.mark.slow
def test_run_on_adapters_then_run_on_top_of_it_and_a_changed_base_is_refused(
    trained: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """SFT, then IPO of adapters over it, then DPO of all weights over both: each starts where the last ended."""
    shutil.copytree(trained("sft", "implicit"), tmp_path / "sft")
    sft = tmp_path / "sft/reward"
    lora = {"base": str(tmp_path / "sft"), "lora_rank": 2}
    adapted = run_language(tmp_path / "ipo", tiny_config("ipo", "implicit", scorer=lora))
    parts, params, frozen, _ = load_language_reward(Origin(adapted))
    base = flat_params(load_language_reward(Origin(sft))[1]["decoder"])
    jax.tree.map(np.testing.assert_array_equal, flat_params(frozen["decoder"]), base)
    assert any(
        np.abs(leaf).max() > 0
        for path, leaf in flat_params(params["adapters"]).items()
        if path[-1] == "lora_b"
    )

    config = tiny_config("dpo", "implicit", scorer={"base": str(tmp_path / "ipo")})
    on_top = run_language(tmp_path / "dpo", config)
    reference = load_language_reward(Origin(on_top))[2]["reference"]
    batch = batch_of(parts)
    np.testing.assert_allclose(
        log_probabilities(parts.model, reference, batch.rows),
        log_probabilities(parts.model, parts.model.decoder_of(params, frozen), batch.rows),
        atol=1e-4,
    )
    assert read_base(tmp_path / "ipo").digest != read_base(tmp_path / "sft").digest

    file = tmp_path / "sft/reward/decoder/tokenizer.json"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(CheckpointError, match="was meta-trained over a base with digest"):
        load_language_reward(Origin(adapted))


ON_DEVICES = """
import dataclasses, json, sys
from pathlib import Path
from typing import Any
from tiny_language import run_language, tiny_config
losses = {}
for devices, fsdp, tensor in ((1, 1, 1), (2, 1, 1), (4, 4, 1), (8, 2, 2)):
    seen = []
    config = tiny_config("dpo", "implicit", devices=devices, fsdp=fsdp, tensor=tensor, steps=6, evaluate_every=6)
    run_language(Path(sys.argv[1], f"{devices}.{fsdp}.{tensor}"), config, on_progress=lambda p: seen.append(p.loss))
    losses[f"{devices}.{fsdp}.{tensor}"] = seen
print(json.dumps(losses))
"""


@pytest.mark.slow
def test_runs_on_1_2_4_and_8_devices_divided_in_every_way_have_the_same_losses(
    tmp_path: Path, compiled_programs: dict[str, str]
) -> None:
    root = Path(__file__).parents[2]
    environment = compiled_programs | {
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}",
    }
    ran = subprocess.run(
        [sys.executable, "-c", ON_DEVICES, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    losses = json.loads(ran.stdout)
    alone = losses.pop("1.1.1")
    assert len(losses) == 3 and len(set(alone)) == 3
    for seen in losses.values():
        np.testing.assert_allclose(seen, alone, atol=1e-5)


@pytest.mark.slow
def test_fixed_batches_are_scored_by_the_reference_once_with_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("dpo", "implicit", steps=6, evaluate_every=6, scorer={"distinct_batches": 2})
    known: list[dict] = []

    class Watched(References):
        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            known.append(self._known)

    class Absent(References):
        def added(self, name: Any, frozen: Any, batch: RowBatch) -> RowBatch:
            return batch

    losses = []
    for kind in (Watched, Absent):
        monkeypatch.setattr("fspo_jax.training.tasks.language_model.References", kind)
        seen: list[float] = []
        run_language(tmp_path / kind.__name__, config, on_progress=lambda p, seen=seen: seen.append(p.loss))
        losses.append(seen)
    assert set(known[0]) == {0, 1}
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-6)


def test_run_on_pairs_that_do_not_fit_says_how_many_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(
        LimitError,
        match=r"\d+ of 192 pairs do not fit into a row of 40 tokens beside .*; the longest has \d+",
    ):
        run_language(tmp_path / "run", tiny_config(scorer={"row_length": 40}))
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_config_with_parts_that_do_not_fit_is_refused() -> None:
    for changes, message in (
        ({"objective": "sft", "reward": "scalar"}, "'objective' 'sft' cannot be used with"),
        ({"scorer": {"lora_rank": 2}}, "'scorer.lora_rank' adapts a trained model"),
        (
            {"reward": "scalar", "scorer": {"output_tokens": 9}},
            "'scorer.output_tokens' is about probabilities",
        ),
        ({"scorer": {"template": "fspo_v1", "layout": "parallel"}}, "numbers its shots"),
        (
            {"reward": "gaussian_process", "scorer": {"micro_batches": 2}},
            "must be 1 with the Gaussian process",
        ),
        ({"scorer": {"heads": 3}}, "must be a multiple of 'scorer.heads'"),
        ({"scorer": {"attention": "pallas", "row_length": 100}}, "must be a multiple of 64"),
    ):
        with pytest.raises(ConfigError, match=message):
            tiny_config(**changes)
    assert dataclasses.is_dataclass(tiny_config())
