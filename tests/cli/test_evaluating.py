"""`fspo evaluate` with other rewards and an untrained language model beside: what is measured, what is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from cli_calls import expect_error
from tiny_language import make_language_reward, some_pairs, tiny_config, tiny_params, tiny_parts

from fspo_jax.cli import main
from fspo_jax.evaluation import prompted as prompting
from fspo_jax.reward import PersonalizedReward

USERS, PAIRS = 6, 5


@pytest.fixture
def people(tmp_path: Path) -> Path:
    rows = [
        {"user_id": f"u{u}", "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        for u in range(USERS)
        for pair in some_pairs(u, PAIRS)
    ]
    path = tmp_path / "people.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rewards") / "language"
    make_language_reward("implicit").save(path)
    return path


def measured(tmp_path: Path, *argv: object) -> dict:
    """Runs `fspo evaluate`, which must succeed, and returns its report."""
    assert main(["evaluate", *map(str, argv), "--output", str(tmp_path / "report")]) == 0
    return json.loads((tmp_path / "report" / "report.json").read_text())


def accuracies(report: dict, method: str) -> dict[int, float]:
    return {row["shots"]: row["accuracy"][0] for row in report["curve"] if row["method"] == method}


def test_evaluate_measures_features_and_language_models_beside_each_other_on_the_same_pairs(
    run: Path, language: Path, people: Path, tmp_path: Path
) -> None:
    asked = ("--data", people, "--shots", 2, "--queries", 3)
    features = measured(tmp_path, run, *asked, "--beside", language)
    words = measured(tmp_path, language, *asked, "--beside", run)
    assert features["users"] == words["users"] == USERS
    assert accuracies(features, "model") == accuracies(words, "run")
    assert accuracies(features, "language") == accuracies(words, "model")
    assert {0, 2} == set(accuracies(words, "model"))


def test_evaluate_without_shots_takes_those_that_every_reward_reads(
    run: Path, people: Path, tmp_path: Path
) -> None:
    """`run` reads 4 pairs; a reward that reads 1 pair cannot be measured with more."""
    other = tmp_path / "one"
    shutil.copytree(run, other)
    config = json.loads((other / "config.json").read_text())
    config["config"]["episodes"]["max_context"] = 1
    (other / "config.json").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fspo_jax.checkpoints.rewards.check_fingerprint", lambda *_: None)
        PersonalizedReward.load(other).save(other)
    assert measured(tmp_path, run, "--data", people)["shots"] == [0, 1, 2, 4]
    assert measured(tmp_path, run, "--data", people, "--beside", other)["shots"] == [0, 1]


def test_evaluate_prompted_asks_an_untrained_model_in_three_ways(
    run: Path, language: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    margins = PersonalizedReward.margins

    def counted(self, contexts, queries, *rest):
        read.append([len(context) for context in contexts])
        return margins(self, contexts, queries, *rest)

    monkeypatch.setattr(PersonalizedReward, "margins", counted)
    found = measured(
        tmp_path, run, "--data", people, "--shots", 2, "--queries", 2, "--prompted", language, "--people", 3
    )
    assert found["users"] == 3
    for name in (prompting.LIKELIHOOD, prompting.GAIN, prompting.ASKED):
        assert set(accuracies(found, name)) == {0, 2}
    assert accuracies(found, prompting.GAIN)[0] == 0.5  # nothing was read, so nothing is raised: ties
    # Likelihood and its gain need the same readings: one without pairs, one with; A or B needs two of its own.
    assert sorted(read) == [[0] * 3, [0] * 3, [2] * 3, [2] * 3]


@pytest.mark.parametrize(("asked", "users"), [(1, 1), (4, 4), (6, 6), (99, 6)])
def test_evaluate_people_takes_so_many_evenly_spaced_or_all_there_are(
    asked: int, users: int, run: Path, people: Path, tmp_path: Path
) -> None:
    assert measured(tmp_path, run, "--data", people, "--people", asked, "--shots", 0)["users"] == users


def test_evaluate_rewards_whose_directories_share_a_name_are_told_apart(
    run: Path, people: Path, tmp_path: Path
) -> None:
    places = [tmp_path / parent / name for parent, name in (("a", "reward"), ("b", "reward"), ("c", "model"))]
    for place in places:
        shutil.copytree(run, place)
    found = measured(tmp_path, run, "--data", people, "--shots", 0, "--beside", *places)
    assert {str(place) for place in places} < {row["method"] for row in found["curve"]}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--beside", "nothing"], "nothing: no such reward"),
        (["--beside", "fspo-minni"], "Did you mean 'fspo-mini'?"),
        (["--beside", "RUN", "RUN"], "names RUN twice"),
        (["--people", "0"], "--people"),
        (["--people", "few"], "--people"),
        (["--prompted", "smollm-135m"], "Did you mean 'smollm2-135m'?"),
        (["--prompted", "missing/directory/x"], "is not a directory"),
        (["--shots", "5"], "this reward reads at most 4 pairs"),
    ],
)
def test_evaluate_refuses_what_cannot_be_measured_and_says_what_to_do(
    argv: list[str], words: str, run: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(run) if word == "RUN" else word for word in argv]
    line = expect_error(capsys, ["evaluate", run, "--data", people, *given])
    assert words.replace("RUN", str(run)) in line
    assert not (run / "report").exists()


def test_evaluate_cost_prints_time_and_bytes_of_a_user_for_every_reward(
    run: Path, language: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--people", 2, "--shots", 2, "--queries", 1)
    measured(tmp_path, run, "--data", people, "--beside", language, "--prompted", language, *few, "--cost")
    out = capsys.readouterr().out
    for name, kept in (
        ("model", r", [\d,]+ bytes"),
        ("language", r", [\d,]+ bytes"),
        (prompting.LIKELIHOOD, ""),
        (prompting.ASKED, ""),
    ):
        assert re.search(rf"^{name}: [\d.,]+ ms{kept} a user \(2 pairs read\)$", out, re.MULTILINE), out


def test_evaluate_a_reward_whose_config_leaves_no_people_to_test_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}], "test_fraction": 0.0}
    parts = tiny_parts(config := tiny_config(data=data))
    PersonalizedReward.from_language(config, parts, *tiny_params(parts)).save(tmp_path / "reward")
    line = expect_error(capsys, ["evaluate", tmp_path / "reward", "--people", 3])
    assert "no user in the test split of personas" in line and "raise the fraction" in line
