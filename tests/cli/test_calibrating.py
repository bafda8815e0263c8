"""`fspo calibrate`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_calls import (
    expect_error,
    give_stdin,
    margin,
)

from fspo_jax import PersonalizedReward
from fspo_jax.cli import main
from fspo_jax.cli.calibrating import evenly_spaced
from fspo_jax.types import Preference


def test_calibrate_takes_pairs_evenly_from_all_of_a_person() -> None:
    pairs = [Preference("?", f"a{i}", f"b{i}") for i in range(10)]
    assert [pair.chosen for pair in evenly_spaced(pairs, 4)] == ["a0", "a2", "a5", "a7"]
    assert evenly_spaced(pairs, 16) == pairs


def test_calibrate_saves_a_reward_whose_probabilities_fit_the_people(
    run: Path, people: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated = tmp_path / "calibrated"
    calibrate = ["calibrate", str(run), str(people), "--output", str(calibrated)]
    assert main(calibrate) == 0
    said = capsys.readouterr()
    assert "(was 1.00) from 6 pairs of 2 people" in said.out
    assert "only 2 people: the temperature may be unreliable; provide about 50" in said.err
    assert "2 set aside" in said.err
    factor = float(re.findall(r"temperature (\d\.\d\d)", said.out)[0])
    assert factor < 0.95
    request = ["--prompt", "Hi", "--candidates", "-", "--pairs", str(pairs)]
    margins = []
    for reward in (run, calibrated):
        with pytest.MonkeyPatch.context() as patch:
            give_stdin(patch, '["A messy coin.", "S equals a unit vector."]')
            assert main(["rerank", str(reward), *request]) == 0
        margins.append(margin(json.loads(capsys.readouterr().out), 0, 1))
    assert margins[1] * factor == pytest.approx(margins[0], rel=0.02)
    assert "already exists. Choose another path" in expect_error(capsys, calibrate)
    again = ["calibrate", str(calibrated), str(people), "--output", str(tmp_path / "again")]
    assert main([*again, "--shots", "3"]) == 0
    assert f"temperature {factor:.2f} (was {factor:.2f})" in capsys.readouterr().out
    assert "it must be at least 2" in expect_error(
        capsys, [*again[:-1], str(tmp_path / "third"), "--shots", "1"]
    )
    limit = PersonalizedReward.load(run).max_context
    rows = [
        {"user_id": 1, "prompt": f"p{i}", "chosen": f"a {i}", "rejected": f"b {i}"} for i in range(limit + 1)
    ]
    people.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    line = expect_error(capsys, [*calibrate[:-1], str(tmp_path / "many"), "--shots", "100"])
    assert f"--shots is 100, but this reward is calibrated with at most {limit} pairs" in line


def test_reward_with_a_temperature_that_is_none_is_damaged(
    run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = json.loads((run / "config.json").read_text())
    for value in (0, -1, float("nan"), float("inf"), "warm"):
        (run / "config.json").write_text(json.dumps({**stored, "temperature": value}))
        assert "damaged" in expect_error(capsys, ["adapt", run, pairs, "-o", tmp_path / "ana"])
    del stored["temperature"]  # of a reward that was saved before there was any
    (run / "config.json").write_text(json.dumps(stored))
    assert main(["adapt", str(run), str(pairs), "-o", str(tmp_path / "ana")]) == 0
