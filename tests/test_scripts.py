"""The scripts that make what the repository keeps: pictures and rewards."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_language import split_base, split_reward
from tiny_reward import make_reward

import fspo_jax as fspo

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_picture_shows_the_committed_numbers() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "plot_accuracy.py"))
    data = json.loads((ROOT / "docs" / "results" / "accuracy.json").read_text(encoding="utf-8"))
    committed = (ROOT / "docs" / "results" / "accuracy.svg").read_text(encoding="utf-8")
    figure = script["draw"](data)
    assert len(figure.axes) == len(data["panels"]) == 2
    for axis, panel in zip(figure.axes, data["panels"], strict=True):
        assert f"<!-- {axis.get_title(loc='left')} -->" in committed
        assert [list(line.get_ydata()) for line in axis.lines] == [
            [accuracy for _, accuracy, _, _ in panel["curves"][name]]
            for name in script["CURVES"]
            if name in panel["curves"]
        ]


@pytest.mark.slow
def test_a_reward_over_a_reward_stands_by_itself_once_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = split_base(tmp_path / "base")
    split_reward(base, "scalar", "bradley_terry").save(tmp_path / "first")
    split_reward(tmp_path / "first", "scalar", "bradley_terry").save(tmp_path / "second")
    script = runpy.run_path(str(ROOT / "scripts" / "join_adapters.py"))

    def join(reward: str, *options: str) -> None:
        given = ["join_adapters.py", str(tmp_path / reward), "--output", str(tmp_path / "joined"), *options]
        monkeypatch.setattr(sys, "argv", given)
        script["main"]()

    def scores(name: str) -> np.ndarray:
        pairs = [fspo.Preference("red?", "a b", "c"), fspo.Preference("blue?", "c d", "a")]
        return fspo.PersonalizedReward.load(tmp_path / name).adapt(pairs).score("green?", ["a", "b c", "d"])

    whole = scores("second")
    join("second")
    (tmp_path / "first").rename(tmp_path / "elsewhere")  # no longer needed
    assert scores("joined") == pytest.approx(whole, abs=1e-4) and np.ptp(whole) > 1e-3
    (tmp_path / "elsewhere").rename(tmp_path / "first")
    join("second", "--rank", "1")
    assert scores("joined") != pytest.approx(whole, abs=1e-4)
    with pytest.raises(SystemExit):
        join("first")  # it stands by itself already
    make_reward().save(tmp_path / "features")
    with pytest.raises(SystemExit):
        join("features")
    for reward, *options, words in (
        ("base", "base is no reward with adapters"),
        ("second", "--output", str(tmp_path / "second"), "is one of the rewards to be joined"),
        ("second", "--output", str(tmp_path / "first"), "is one of the rewards to be joined"),
        ("second", "--rank", "-1", "is not a positive whole number"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            join(reward, *options)
        assert words in capsys.readouterr().err
    assert scores("second") == pytest.approx(whole)


def test_adapters_of_the_sum_of_ranks_are_their_sum_and_smaller_ranks_keep_most() -> None:
    truncated = runpy.run_path(str(ROOT / "scripts" / "join_adapters.py"))["truncated"]
    generator = np.random.default_rng(0)
    down, up = generator.normal(size=(2, 9, 4)), generator.normal(size=(2, 4, 7))
    a, b, kept, size = truncated(down, up, 4)
    assert a @ b == pytest.approx(down @ up) and kept == pytest.approx(size)
    a, b, kept, size = truncated(down, up, 3)
    error = float(np.square(a @ b - down @ up).sum())
    assert 0 < error == pytest.approx(size - kept) and a.shape == (2, 9, 3) and b.shape == (2, 3, 7)
