"""The command community."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_calls import ask, expect_error, give_stdin
from tiny_reward import HashedFeatures, StyledFeatures, make_reward

from fspo_jax.cli import main
from fspo_jax.reward import PersonalizedReward


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    features = {"three_level_gp": StyledFeatures(), "preferential_gp": HashedFeatures()}
    monkeypatch.setattr(
        "fspo_jax.reward.load.restore_featurizer", lambda config, *_, **__: features[config.scorer.kind]
    )
    make_reward("three_level_gp").save(tmp_path / "base")
    return tmp_path / "base"


def test_community_is_learned_saved_ranked_with_and_continued(
    base: Path, people: Path, pairs: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, further = tmp_path / "rewards" / "ours", tmp_path / "rewards" / "further"
    command = ["community", str(base), str(people), "--output", str(ours)]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert f"{ours}: learned a community from 6 pairs of 2 people in " in printed.out
    assert "2 set aside" in printed.err and "learning: 6 of 6" in printed.err
    orders = []
    for reward in (base, ours):
        give_stdin(monkeypatch, ask(candidates=["a 0", "b 0 longer", "new"]))
        assert main(["rerank", str(reward)]) == 0
        orders.append(
            {line["text"]: line["score"] for line in json.loads(capsys.readouterr().out)["ranking"]}
        )
    before, after = (scores["a 0"] - scores["b 0 longer"] for scores in orders)
    assert after > before
    assert main(["adapt", str(ours), str(pairs), "-o", str(tmp_path / "ana")]) == 0
    capsys.readouterr()
    assert "already exists. Choose another path" in expect_error(capsys, command)
    assert main(["community", str(ours), str(people), "--output", str(further)]) == 0
    capsys.readouterr()
    give_stdin(monkeypatch, ask(candidates=["x"]))
    of_another = ["rerank", further, "--user", tmp_path / "ana"]
    assert "was saved with reward" in expect_error(capsys, of_another)


def test_community_may_be_described(
    base: Path, people: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["community", str(base), "--description", "poets", "--output", str(tmp_path / "ours")]
    assert "has not learned to read descriptions" in expect_error(capsys, command)
    nothing = ["community", base, "--output", tmp_path / "ours"]
    assert "neither people nor a description" in expect_error(capsys, nothing)
    factors = {"description": {"sentence": np.array([0.1, 0.1], np.float32)}}
    reward = make_reward("three_level_gp")
    params = {**reward.scoring.params, **factors}
    PersonalizedReward.from_parts(reward.config, params, StyledFeatures()).save(base)
    assert main(command) == 0
    assert f"{tmp_path / 'ours'}: learned a community from a description in " in capsys.readouterr().out
    both = [*command[:2], str(people), *command[2:-1], str(tmp_path / "both")]
    assert main(both) == 0
    assert "from 6 pairs of 2 people and a description in " in capsys.readouterr().out


def test_community_may_be_private(
    base: Path, people: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["community", str(base), str(people), "--epsilon", "3", "--output", str(tmp_path / "ours")]
    assert "--epsilon and --delta belong together" in expect_error(capsys, command)
    monkeypatch.setattr("fspo_jax.reward.private.Privacy.sigma", 1.39)
    assert "epsilon must be" in expect_error(capsys, [*command[:4], "0", "--delta", "1e-5", *command[5:]])
    assert main([*command, "--delta", "1e-5"]) == 0
    assert "(epsilon 3, delta 1e-05)" in repr(PersonalizedReward.load(tmp_path / "ours"))


def test_communities_are_reported_and_saved(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fspo_jax.reward.groups.STARTS", 1)
    monkeypatch.setattr("fspo_jax.reward.groups.STEPS", 2)
    rows = [
        {"user_id": f"u{i % 10}", "prompt": f"p{i}", "chosen": f"a {i}", "rejected": f"b {i}"}
        for i in range(40)
    ]
    path, output = tmp_path / "many.jsonl", tmp_path / "groups"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ["communities", str(base), str(path), "--count", "2", "--output", str(output)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "group 1: " in printed and f"{output}: 2 groups of 10 people" in printed
    assert "already exists" in expect_error(capsys, command)
    few = [*command[:4], "3", "--output", tmp_path / "other"]
    assert "too few for 3 groups" in expect_error(capsys, few)


def test_community_that_cannot_be_learned_says_why_and_leaves_nothing(
    base: Path, people: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, run = tmp_path / "ours", tmp_path / "run"
    make_reward().save(run)
    assert "'three_level_gp' scorer can" in expect_error(capsys, ["community", run, people, "-o", output])
    mistyped = ["community", base, people.with_name("peple.jsonl"), "-o", output]
    assert "Did you mean 'people.jsonl'?" in expect_error(capsys, mistyped)
    assert "user_id" in expect_error(capsys, ["community", base, pairs, "-o", output])
    for place in (people / "ours", people / "deep" / "ours"):
        message = expect_error(capsys, ["community", base, people, "-o", place])
        assert f"{place}: cannot be written, because {people} is not a directory" in message
    assert not output.exists()
