"""`evaluate` finds what belongs to a run: its people, the other rewards beside it, the world of its personas."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from types import MappingProxyType

import jax
import numpy as np
import pytest

from fspo_jax.checkpoints import MISMATCHED, POPULATION
from fspo_jax.config import DataConfig, PersonaSource, PreferentialGPConfig, TrainConfig, config_from_dict
from fspo_jax.data.build import load_split
from fspo_jax.errors import DataError
from fspo_jax.evaluation import Report, controls, evaluate, headline
from fspo_jax.evaluation.bayes_optimal import worlds_of
from fspo_jax.evaluation.report import PairedRow
from fspo_jax.metrics import Interval
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward

WORLD = {"kind": "personas", "seed": 0, "personas": 30, "prompts": 12, "domains": ["reviews"], "pairs": 16}


class CountedFeatures:
    """Two features of a text; counts the items that it was asked for."""

    blocks, dimension, fingerprint = MappingProxyType({"counted": 2}), 2, "counted"

    def __init__(self) -> None:
        self.asked: list[tuple[object, str]] = []

    def __call__(self, prompts: Sequence[object], responses: Sequence[str]) -> np.ndarray:
        self.asked += list(zip(prompts, responses, strict=True))
        return np.array([[len(text) % 7, text.count("e") % 5] for text in responses], np.float32)


def config_of(kind: str = "preferential_gp") -> TrainConfig:
    return config_from_dict(
        {
            "seed": 0,
            "steps": 10,
            "steps_per_dispatch": 10,
            "evaluate_every": 10,
            "objective": "bradley_terry",
            "data": {"sources": [WORLD], "test_fraction": 0.3},
            "scorer": {"kind": kind, "hidden": 4},
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
            "episodes": {"max_context": 4},
        }
    )


def reward_of(config: TrainConfig, featurizer: CountedFeatures, seed: int = 0) -> PersonalizedReward:
    params = make_scorer(config.scorer, {"counted": 2}).init(jax.random.key(seed))
    return PersonalizedReward.from_parts(config, params, featurizer)


@pytest.fixture(scope="module")
def featurizer() -> CountedFeatures:
    return CountedFeatures()


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory, featurizer: CountedFeatures):
    """A reward loaded from a run with both other rewards beside it."""
    run = tmp_path_factory.mktemp("runs") / "run"
    reward_of(config_of(), featurizer).save(run)
    reward_of(config_of("population"), featurizer).save(run / POPULATION)
    reward_of(config_of(), featurizer, seed=1).save(run / MISMATCHED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fspo_jax.reward.load.restore_featurizer", lambda *_, **__: featurizer)
        yield PersonalizedReward.load(run)


@pytest.fixture(scope="module")
def report(reward: PersonalizedReward) -> Report:
    return evaluate(reward, shots=(0, 4), queries=4)


def test_own_people_other_rewards_and_the_optimum_are_found(report: Report) -> None:
    methods = list(dict.fromkeys(row.method for row in report.curve))
    assert methods == ["model", "population", "per-user logistic", "isotropic GP", "Bayes-optimal"]
    assert report.row("Bayes-optimal", 4).accuracy.mean > 0.6 > report.row("population", 4).accuracy.mean
    assert [row.name for row in report.controls] == [
        controls.ZERO_SHOTS,
        controls.FLIPPED,
        controls.OTHER_USER,
        controls.SHUFFLED,
        controls.MISMATCHED,
        controls.LONGER,
        controls.RANDOM,
    ]
    assert "every context came from another user" in report.controls[4].expectation
    assert [row.picker for row in report.picks] == [
        "random", "longest", "zero shots", "personal", "population", "Bayes-optimal", "true best",
    ]  # fmt: skip


def test_the_same_report_from_users_from_a_config_and_from_the_reward_alone(
    reward: PersonalizedReward, report: Report
) -> None:
    users = load_split(reward.config.data, "test")
    for given in (users, reward.config.data):
        assert evaluate(reward, given, shots=(0, 4), queries=4).to_json() == report.to_json()
    seen = evaluate(reward, split="train", shots=(0,), queries=2)
    assert seen.users > report.users and "trained on these people" in seen.warnings[0]
    (few,) = report.warnings
    assert few.startswith(f"only {report.users} user")


def test_no_other_reward_is_made_up_for_one_without_a_run(featurizer: CountedFeatures) -> None:
    found = evaluate(reward_of(config_of(), featurizer), shots=(0,), queries=2)
    assert "population" not in {row.method for row in found.curve}
    assert controls.MISMATCHED not in {row.name for row in found.controls}


def test_features_of_pairs_are_computed_once(reward: PersonalizedReward, featurizer: CountedFeatures) -> None:
    users = [dataclasses.replace(u, candidate_sets=()) for u in load_split(reward.config.data, "test")]
    items = {(p.prompt, text) for u in users for p in u.preferences for text in (p.chosen, p.rejected)}
    featurizer.asked.clear()
    evaluate(reward, users, shots=(0, 1, 4), queries=4)
    assert sorted(featurizer.asked) == sorted(items)


def test_optimum_needs_personas_of_the_only_world(reward: PersonalizedReward) -> None:
    data = reward.config.data
    users = load_split(data, "test")
    assert worlds_of(users, data) == data.sources
    assert worlds_of([dataclasses.replace(users[0], source="people"), *users[1:]], data) == ()
    other = dataclasses.replace(data.sources[0], seed=1)  # other texts under the same name
    assert worlds_of(users, DataConfig((other,))) == ()
    assert worlds_of(users, DataConfig((*data.sources, PersonaSource(0, 9, 9, name="more")))) == ()


def test_progress_counts_to_the_end(reward: PersonalizedReward) -> None:
    calls: dict[str, list[tuple[int, int]]] = {}
    evaluate(
        reward,
        shots=(0, 4),
        queries=2,
        on_progress=lambda stage, done, total: calls.setdefault(stage, []).append((done, total)),
    )
    assert list(calls) == ["encoding", "measuring"]
    for stage in calls.values():
        assert stage == sorted(stage) and stage[-1][0] == stage[-1][1]


def test_queries_below_one_raise(reward: PersonalizedReward) -> None:
    with pytest.raises(DataError, match="queries must be a positive integer, not 0"):
        evaluate(reward, queries=0)


def test_temperature_divides_log_odds_of_features_too(featurizer: CountedFeatures) -> None:
    config = dataclasses.replace(config_of(), scorer=PreferentialGPConfig("preferential_gp", hidden=4))
    plain = reward_of(config, featurizer)
    cooled = dataclasses.replace(plain, temperature=1e6)
    assert evaluate(cooled, shots=(0, 4), queries=2).row("model", 4).log_loss == pytest.approx(
        np.log(2), abs=1e-4
    )
    assert evaluate(plain, shots=(0, 4), queries=2).row("model", 4).log_loss != pytest.approx(
        np.log(2), abs=1e-4
    )


def test_headline_names_a_method_that_is_better_than_the_model(report: Report) -> None:
    k = report.control_shots
    better = PairedRow("per-user logistic", k, Interval(-0.041, -0.088, -0.007))
    unsure = PairedRow("isotropic GP", k, Interval(-0.06, -0.2, 0.01))
    optimum = PairedRow("Bayes-optimal", k, Interval(-0.1, -0.2, -0.05))
    text = headline(dataclasses.replace(report, paired=(better, unsure, optimum)))
    assert text.endswith("; but -4.1 [-8.8, -0.7] points against per-user logistic, which is better here.")
    assert "better" not in headline(dataclasses.replace(report, paired=(unsure, optimum)))
