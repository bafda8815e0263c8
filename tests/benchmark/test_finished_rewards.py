"""Rewards that are trained already as methods of a benchmark: of features and of a language model, side by side."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_language import make_language_reward, some_pairs
from tiny_reward import HashedFeatures, make_reward

from fspo_jax.benchmark import run_benchmark, write_benchmark_report
from fspo_jax.benchmark.folds import Studies, load_studies
from fspo_jax.benchmark.store import RESULTS
from fspo_jax.config import (
    BaselineConfig,
    BenchmarkConfig,
    DataConfig,
    FinishedConfig,
    MethodConfig,
    PreferenceSource,
    TrialConfig,
)
from fspo_jax.config.checks import check_benchmark
from fspo_jax.errors import ConfigError
from fspo_jax.evaluation.controls import first_pairs
from fspo_jax.evaluation.predict import texts_of
from fspo_jax.reward import PersonalizedReward

SHOTS = 3


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchmarkConfig:
    monkeypatch.setattr("fspo_jax.reward.load.restore_featurizer", lambda *_, **__: HashedFeatures())
    make_reward().save(tmp_path / "features")
    make_language_reward("scalar", "parallel").save(tmp_path / "words")
    rows = [
        {"user_id": f"u{u}", "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for u in range(12)
        for pair in some_pairs(u, 6, words=4)
    ]
    people = tmp_path / "people.jsonl"
    people.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return BenchmarkConfig(
        hold_out="users",
        seeds=2,
        steps=50,
        data=DataConfig((PreferenceSource(path=str(people), name="people"),), 0.2, 0.4),
        methods=(
            MethodConfig("length", BaselineConfig("length")),
            MethodConfig("features", FinishedConfig("finished", str(tmp_path / "features"))),
            MethodConfig("words", FinishedConfig("finished", str(tmp_path / "words"))),
        ),
        trials=(TrialConfig(1e-2, 0.0, 0.0),),
        shots=(0, SHOTS),
        queries=2,
        communities=(0, 2),
    )


def studies_of(config: BenchmarkConfig) -> Studies:
    return load_studies(config, lambda *_: HashedFeatures())


@pytest.mark.slow
def test_finished_rewards_are_judged_on_the_same_episodes_as_they_serve(
    config: BenchmarkConfig, tmp_path: Path
) -> None:
    studies = studies_of(config)
    cells = run_benchmark(config, studies, tmp_path / "out")
    assert [(cell["method"]["name"], cell["seed"]) for cell in cells] == [
        ("length", 0),
        ("features", 0),
        ("words", 0),
    ]
    measured = studies.episodes(studies.folds()[0].test["people"])
    assert len(measured.numbers) > 1
    contexts, queries = texts_of(
        studies.people, first_pairs(measured.episode, SHOTS), np.arange(len(measured.numbers))
    )
    for cell in cells[1:]:
        reward = PersonalizedReward.load(cell["method"]["model"]["reward"])
        found = cell["sources"]["people"]["shots"][str(SHOTS)]["accuracy"]
        for context, asked, accuracy in zip(contexts, queries, found, strict=True):
            ana = reward.adapt(context)
            right = [np.argmax(ana.score(pair.prompt, [pair.chosen, pair.rejected])) == 0 for pair in asked]
            assert accuracy == pytest.approx(np.mean(right), abs=1e-3)
    page = write_benchmark_report(config, cells, studies.people.users, tmp_path / "out")["report.md"]
    assert "| words |" in page.read_text() and "| features |" in page.read_text()


def test_a_finished_reward_that_changes_is_measured_again(
    config: BenchmarkConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, methods=config.methods[2:], communities=(0,))
    for seed, lines in ((0, 2), (0, 2), (1, 3)):
        make_language_reward("scalar", "parallel", seed).save(tmp_path / "words")
        run_benchmark(config, studies_of(config), tmp_path / "out")
        assert len((tmp_path / "out" / RESULTS).read_text().splitlines()) == lines


def test_a_finished_reward_that_reads_fewer_pairs_than_are_asked_is_refused_before_anything_runs(
    config: BenchmarkConfig,
) -> None:
    config = dataclasses.replace(config, shots=(0, 5))
    with pytest.raises(ConfigError, match="'shots' has 5, but 'words' reads at most 4 pairs"):
        studies_of(config)


@pytest.mark.parametrize("changes", [{"adapters": "runs/a"}, {"mismatched": True}])
def test_settings_of_training_are_refused_for_a_finished_reward(
    config: BenchmarkConfig, changes: dict
) -> None:
    method = dataclasses.replace(config.methods[1], **changes)
    with pytest.raises(ConfigError, match=r"methods\.1"):
        check_benchmark(dataclasses.replace(config, methods=(config.methods[0], method)))
