"""Benchmarks say what is wrong with their arguments."""

import re
import sys

import pytest
from benchmark_files import load

from fspo_jax import PersonalizedReward


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("caution", ["fspo-mnii"], "no such reward. Did you mean 'fspo-mini'"),
        ("caution", ["tiny", "--personas", "0"], "not a positive whole number"),
        ("caution", ["tiny"], "this reward knows none"),
        ("guidance", ["--rows", "blockwize:1:2"], "there is no row 'blockwize:1:2'"),
        ("guidance", ["--rows", "blockwise:0:2"], "there is no row 'blockwise:0:2'.*n must be a positive"),
        ("guidance", ["--rows", "few-shot:8"], "there is no row 'few-shot:8'"),
        ("guidance", ["--rows", "few-shot:8:16:hot"], "there is no row 'few-shot:8:16:hot'"),
        ("guidance", ["--rows", "few-shot:8:16:-1"], "there is no row 'few-shot:8:16:-1'.*temperature"),
        ("guidance", ["--rows", "few-shot:8:16:1:1"], "there is no row"),
        ("guidance", ["--rows", "policy-of:"], "there is no row 'policy-of:'"),
        ("guidance", ["--personas", "3"], "3 is odd"),
        ("guidance", ["--temperature", "-1"], "-1 is not a number from 0 on"),
        ("guidance", ["--minutes", "nan"], "nan is not a number from 0 on"),
        ("descriptions", ["--temperature", "-1"], "-1 is not a number from 0 on"),
        (
            "guidance",
            ["--output", "{tmp}/none/a.json"],
            "none/a.json: cannot be written: there is no directory",
        ),
        ("guidance", ["--picture", "{tmp}"], "cannot be written: it is a directory"),
        (
            "guidance",
            ["--picture", "{tmp}/a.svg", "--draw", "{tmp}/none"],
            "none: is no output.*FileNotFound",
        ),
        ("guidance", ["--picture", "{tmp}/a.svg", "--draw", "{tmp}/odd"], "odd: is no output.*KeyError"),
        ("guidance", ["tiny", "--writer", "{tmp}", "--rows", "policy"], "need a reward that writes"),
        ("descriptions", ["--output", "{tmp}/none/a.json"], "there is no directory"),
        ("asking", ["tiny", "--picture", "{tmp}/none/a.svg"], "there is no directory"),
        ("learning_curves", ["IPO={tmp}"], "is not NAME=RUN with a run of a language model"),
        ("learning_curves", ["runs/ipo"], "is not NAME=RUN with a run of a language model"),
    ],
)
def test_a_wrong_argument_is_one_line_before_anything_is_measured(
    name, given, words, tmp_path, monkeypatch, capsys
):
    from tiny_reward import make_reward

    (tmp_path / "odd").write_text('{"rows": {"few-shot": {"winrate": [1, 0, 2]}}}')
    given = [one.replace("{tmp}", str(tmp_path)) for one in given]
    benchmark, find = load(name), PersonalizedReward.load
    sure = make_reward("population")  # knows no uncertainty and writes nothing
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *given])
    for measures in ("people_of", "make_cases"):
        monkeypatch.setattr(benchmark, measures, None, raising=False)
    monkeypatch.setattr(benchmark, "load_writer", lambda _: None, raising=False)
    monkeypatch.setattr(PersonalizedReward, "load", lambda path: sure if path == "tiny" else find(path))
    with pytest.raises(SystemExit) as stopped:
        sys.modules["machine"].run_benchmark(benchmark.main)
    said = f"{stopped.value} {capsys.readouterr().err}"
    assert re.search(words, said) and f"{name}.py: error: " in said
