"""The commands adapt and rerank."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_calls import (
    PAIRS,
    ask,
    expect_error,
    give_stdin,
    margin,
)

from fspo_jax.cli import main


def test_adapt_saves_a_user_that_rerank_reads(
    run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = tmp_path / "users" / "ana"
    assert main(["adapt", str(run), str(pairs), "--output", str(user)]) == 0
    assert "adapted to 2 pairs" in capsys.readouterr().out
    candidates = tmp_path / "drafts.json"
    candidates.write_text(json.dumps(["A messy coin.", "S equals a unit vector.", "Yes."]), encoding="utf-8")
    request = ["rerank", str(run), "--prompt", "Why is the sky blue?", "--candidates", str(candidates)]
    assert main([*request, "--user", str(user)]) == 0
    saved = json.loads(capsys.readouterr().out)
    assert main([*request, "--pairs", str(pairs)]) == 0
    direct = json.loads(capsys.readouterr().out)
    assert saved == direct
    assert saved["shots"] == 2
    assert [line["rank"] for line in saved["ranking"]] == [1, 2, 3]
    scores = [line["score"] for line in saved["ranking"]]
    assert scores == sorted(scores, reverse=True)
    assert main(request) == 0
    population = json.loads(capsys.readouterr().out)
    assert margin(saved, 0, 1) > margin(population, 0, 1)  # the pairs speak for the words of candidate 0


def test_adapt_without_a_standard_output_saves_the_user(
    run: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as after `>&-`
    assert main(["adapt", str(run), str(pairs), "--output", str(tmp_path / "ana")]) == 0
    assert (tmp_path / "ana").is_file()
    sys.stdout.close()


def test_adapt_existing_user_needs_update_or_overwrite(
    run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt = ["adapt", str(run), str(pairs), "-o", str(tmp_path / "ana")]
    assert "no such user" in expect_error(capsys, [*adapt, "--update"])
    assert main(adapt) == 0
    capsys.readouterr()
    assert "--update" in expect_error(capsys, adapt)
    assert main([*adapt, "--update"]) == 0
    assert "adapted to 2 pairs" in capsys.readouterr().out  # the same pairs count once
    assert main([*adapt, "--overwrite"]) == 0
    assert "adapted to 2 pairs" in capsys.readouterr().out


def test_user_shows_kept_pairs_and_forgets_some(
    run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt = ["adapt", str(run), str(pairs), "-o", str(tmp_path / "ana")]
    show = ["user", str(run), str(tmp_path / "ana")]
    assert "no such user" in expect_error(capsys, show)
    assert main(adapt) == 0
    capsys.readouterr()
    assert main(show) == 0
    out, told = capsys.readouterr()
    assert not out and "2 pairs, whose texts are not kept" in told and "--keep-texts" in told
    assert "keeps no texts" in expect_error(capsys, [*show, "--forget", "1"])
    assert "are chosen for a new user" in expect_error(capsys, [*adapt, "--update", "--half-life", "8"])
    assert main([*adapt, "--overwrite", "--keep-texts", "--half-life", "8"]) == 0
    capsys.readouterr()
    assert main(show) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == PAIRS
    assert "there is no pair 3; the user has 2 pairs" in expect_error(capsys, [*show, "--forget", "3"])
    assert main([*show, "--forget", "1"]) == 0
    assert "forgot 1 pair; 1 pair left" in capsys.readouterr().out
    assert main(show) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == PAIRS[1:]


def test_adapt_rows_without_a_pair_are_refused_and_nothing_is_saved(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.csv"
    for text in (
        "prompt,response_a,response_b,winner\np,a,b,tie\n",
        "prompt,response,rating\np,a,5\np,b,5\n",
    ):
        rows.write_text(text, encoding="utf-8")
        assert main(["adapt", str(run), str(rows), "-o", str(tmp_path / "ana")]) == 2
        assert "no row gives a pair" in capsys.readouterr().err
        assert not (tmp_path / "ana").exists()


def test_adapt_updates_of_one_user_wait_for_each_other(run: Path, pairs: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    adapt = ["adapt", str(run), str(pairs), "-o", str(tmp_path / "ana")]
    assert main(adapt) == 0
    before = (tmp_path / "ana").read_bytes()
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)  # as another command does that changes this user
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}), encoding="utf-8")
    update = threading.Thread(target=main, args=([*adapt[:2], str(more), *adapt[3:], "--update"],))
    update.start()
    update.join(0.5)
    assert update.is_alive() and (tmp_path / "ana").read_bytes() == before
    os.close(other)
    update.join(60)
    assert not update.is_alive() and (tmp_path / "ana").read_bytes() != before


@pytest.mark.parametrize("source", ["file", "-", ""])
def test_rerank_takes_one_document_from_file_or_stdin(
    source: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    document = json.dumps(
        {"pairs": PAIRS, "prompt": "Hi \u00e9 \u4f60", "candidates": ["unit vector", "messy room \u4f60"]}
    )
    argument = [source] if source else []
    if source == "file":
        path = tmp_path / "request.json"
        path.write_text(document, encoding="utf-8")
        argument = [str(path)]
    else:
        give_stdin(monkeypatch, document)
    assert main(["rerank", str(run), *argument, "--top-k", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["prompt"] == "Hi \u00e9 \u4f60"
    assert [line["text"] for line in answer["ranking"]] == ["messy room \u4f60"]


def test_rerank_with_pairs_as_user_says_that_adapt_makes_a_user_of_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pairs.jsonl", "pairs.csv"):
        path = tmp_path / name
        path.write_text("prompt,chosen,rejected\n" if name.endswith("csv") else json.dumps(PAIRS[0]))
        line = expect_error(capsys, ["rerank", str(run), "--user", str(path), "--prompt", "p"])
        assert (
            f"{path}: is a text file, such as pairs" in line and f"'fspo adapt {run} {path} --output" in line
        )


def test_rerank_warns_of_an_empty_prompt(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "drafts.json").write_text('["a", "b"]')
    assert main(["rerank", str(run), "--prompt", "", "--candidates", str(tmp_path / "drafts.json")]) == 0
    assert "warning: the prompt is empty" in capsys.readouterr().err


def test_rerank_conversation_prompt_and_no_pairs_is_the_population(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = [{"role": "user", "content": "Hi"}]
    give_stdin(monkeypatch, json.dumps({"prompt": prompt, "candidates": []}))
    assert main(["rerank", str(run)]) == 0
    assert json.loads(capsys.readouterr().out) == {"prompt": prompt, "shots": 0, "ranking": []}


def test_rerank_candidates_from_stdin_as_jsonl_objects(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_stdin(monkeypatch, '{"model": "m", "text": "one"}\n{"text": "two"}\n')
    assert main(["rerank", str(run), "--prompt", "Hi", "--candidates", "-"]) == 0
    assert {line["text"] for line in json.loads(capsys.readouterr().out)["ranking"]} == {"one", "two"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "standard input is empty"),
        ("{", "not JSON"),
        ("[1]", "expected one JSON document"),
        ("\ufeff" + json.dumps({"prompt": "x"}), "'candidates' is missing"),
        (json.dumps({"candidates": []}), "'prompt' is missing"),
        (json.dumps({"prompt": "x", "candidate": []}), "Did you mean 'candidates'?"),
        (json.dumps({"prompt": 3, "candidates": ["a"]}), "prompt must be a string"),
        (json.dumps({"prompt": "x", "candidates": "ab", "pairs": 3}), "pairs must be a list"),
        (json.dumps({"prompt": "x", "candidates": [3]}), "candidates[0] must be a string"),
        (json.dumps({"prompt": "x", "candidates": ["\ud800"]}), "lone surrogate"),
        (ask(pairs=[{"prompt": "a"}]), "pair 1: 'chosen' is missing"),
        (ask(pairs=[{**PAIRS[0], "chosn": "b"}]), "Did you mean 'chosen'?"),
        (
            ask(pairs=[{**PAIRS[0], "user_id": "a"}, {**PAIRS[1], "user_id": "b"}]),
            "belong to 2 users",
        ),
        (
            ask(pairs=[{"prompt": "x", "chosen": "a", "rejected": "a"}]),
            "pair 1: the two responses are equal",
        ),
    ],
)  # fmt: skip
def test_rerank_document_wrong_says_where(
    document: str,
    message: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    give_stdin(monkeypatch, document)
    assert message in expect_error(capsys, ["rerank", run, "-"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--pairs", "-", "--candidates", "-", "--prompt", "x"], "standard input can be read only once"),
        (["--candidates", "-"], "--prompt is missing"),
        (["--pairs", "-", "--prompt", "x"], "--candidates is missing"),
        (["-", "--prompt", "y"], "has 'prompt', and --prompt was given too"),
        (["-", "--format", "bogus"], "--columns and --format say how pairs are read, but no pairs are given"),
    ],
)
def test_rerank_arguments_that_clash_are_refused(
    argv: list[str],
    message: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    give_stdin(monkeypatch, json.dumps({"prompt": "x", "candidates": []}))
    assert message in expect_error(capsys, ["rerank", run, *argv])


@pytest.mark.parametrize(
    ("argv", "missing", "there"),
    [
        (["--prompt", "x"], "the candidates with --candidates", "--prompt"),
        (["--candidates", "drafts.json"], "the prompt with --prompt", "--candidates"),
    ],
)
def test_rerank_without_a_part_names_that_part_alone(
    argv: list[str],
    missing: str,
    there: str,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    give_stdin(monkeypatch, "")
    line = expect_error(capsys, ["rerank", run, *argv])
    assert f"Expected {missing}, or" in line and there not in line


def test_adapt_and_rerank_read_pairs_of_every_shape_alike(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [f'"{p["prompt"]}","{p["rejected"]}","{p["chosen"]}",right' for p in PAIRS]
    table = "asked,left,right,verdict\n" + "\n".join(cells) + "\n"
    labelled = [
        {"prompt": p["prompt"], "completion": p[side], "label": side == "chosen"}
        for p in PAIRS
        for side in ("chosen", "rejected")
    ]
    (tmp_path / "votes.csv").write_text(table, encoding="utf-8")
    (tmp_path / "kto.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled), encoding="utf-8")
    columns = ["--columns", "prompt=asked,response_a=left,response_b=right,winner=verdict"]
    user = tmp_path / "ana"
    give_stdin(monkeypatch, table)
    assert main(["adapt", str(run), "-o", str(user), *columns]) == 0
    said = capsys.readouterr()
    assert "adapted to 2 pairs" in said.out
    assert said.err == (
        "standard input: 2 of 2 rows kept; read as winner columns (asked, verdict, left, right)\n"
    )
    request = {"prompt": "Why?", "candidates": ["A messy coin.", "S equals a unit vector."]}
    asked = ["--prompt", "Why?", "--candidates", str(tmp_path / "drafts.json")]
    (tmp_path / "drafts.json").write_text(json.dumps(request["candidates"]), encoding="utf-8")
    answers = []
    for argv, document in (
        ([*asked, "--user", str(user)], {}),
        ([*asked, "--pairs", str(tmp_path / "votes.csv"), *columns], {}),
        ([*asked, "--pairs", str(tmp_path / "kto.jsonl")], {}),
        (["-"], {**request, "pairs": PAIRS}),
        (["-"], {**request, "pairs": labelled}),
    ):
        give_stdin(monkeypatch, json.dumps(document))
        assert main(["rerank", str(run), *argv]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert all(answer == answers[0] for answer in answers) and answers[0]["shots"] == 2


def test_pairs_that_are_given_twice_count_once_and_it_is_said(
    run: Path,
    pairs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pairs.write_text(pairs.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert main(["adapt", str(run), str(pairs), "-o", str(tmp_path / "ana")]) == 0
    said = capsys.readouterr()
    assert "adapted to 2 pairs" in said.out and "2 set aside: duplicate 2" in said.err
    give_stdin(monkeypatch, ask(pairs=PAIRS * 2))
    assert main(["rerank", str(run)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["shots"] == 2 and "standard input: 2 of 4 rows kept; 2 set aside" in said.err


def test_adapt_pair_that_is_none_says_where_and_saves_nothing(
    run: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(pairs, "a", encoding="utf-8") as file:
        file.write('{"prompt": "x", "chosen": "y"}\n')
    line = expect_error(capsys, ["adapt", run, pairs, "-o", tmp_path / "ana"])
    assert f"{pairs}:3: 'rejected' is missing" in line and not (tmp_path / "ana").exists()


EXPECTED = 'one JSON document: {"pairs": [...], "prompt": ..., "candidates": [...]}'


def test_stdin_is_a_terminal_is_read_only_when_asked_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give_stdin(monkeypatch, json.dumps({"prompt": "x", "candidates": []}))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for argv, expected in (
        (["rerank", str(run)], EXPECTED),
        (
            ["adapt", str(run), "-o", str(tmp_path / "ana")],
            'such as {"prompt": ..., "chosen": ..., "rejected": ...}',
        ),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(argv)
        message = capsys.readouterr().err
        assert exit_.value.code == 2 and expected in message
        assert f"fspo {argv[0]} fspo-mini" in message.split("For example:")[1]
    assert main(["rerank", str(run), "-"]) == 0
    assert EXPECTED in capsys.readouterr().err


def test_rerank_keeps_its_compiled_programs_in_the_cache(tmp_path: Path) -> None:
    code = "from fspo_jax.cli.compilation import keep_compiled_programs as keep; keep(); import jax; keep();"
    code += (
        "print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    for given, expected in (({}, tmp_path / "programs"), ({"JAX_COMPILATION_CACHE_DIR": "/own"}, "/own")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment | {"FSPO_CACHE": str(tmp_path)} | given,
            check=True,
        )
        assert done.stdout.split() == [str(expected), "0.0"]
