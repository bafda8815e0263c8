"""Odd paths and values nested very deeply: one error that prints, never a traceback or an endless read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_calls import expect_error

import fspo_jax as fspo
from fspo_jax.config import load_config
from fspo_jax.data.exchange import export_users, import_users
from fspo_jax.data.sources import load_pairs
from fspo_jax.errors import FspoError
from fspo_jax.serving.requests import AdaptRequest, EncodeRequest, RerankRequest

ODD = ["/dev/null", "/dev/zero", "x" * 5000, "a/" * 2000 + "b", "\udcff.jsonl", "", "/dev/null/x", "a\nb.csv"]
BAD_ROW = [{"user_id": 1, "prompt": "p", "chosen": "a", "rejected": "a"}]


@pytest.mark.parametrize("path", ODD, ids=lambda path: ascii(path[:12]))
def test_command_with_an_odd_path_is_one_error_that_prints(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for argv in (
        ["data", "validate", path],
        ["data", "inspect", path],
        ["train", path, "--output", "run"],
        ["data", "make", path, "--output", "out"],
        ["evaluate", path],
        ["encode", "fspo-mini", path],
        ["rerank", "fspo-mini", "--pairs", path, "--prompt", "p", "--candidates", "none.json"],
    ):
        expect_error(capsys, argv).encode()
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_is_refused_before_anything_is_read(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("not a saved user")
    (tmp_path / "folder").mkdir()
    for argv in (
        ["adapt", "fspo-mini", "missing.jsonl", "--output"],
        ["community", "fspo-mini", "missing.jsonl", "--output"],
        ["communities", "fspo-mini", "missing.jsonl", "--count", "2", "--output"],
        ["calibrate", "fspo-mini", "missing.jsonl", "--output"],
        ["evaluate", "fspo-mini", "--data", "missing.jsonl", "--output"],
        ["encode", "fspo-mini", "missing.jsonl", "--output"],
        ["benchmark", "missing.toml", "--output"],
        ["data", "make", "missing.toml", "--output"],
    ):
        for place in ("text/x", "text/deep/x"):
            message = expect_error(capsys, [*argv, place])
            assert f"{place}" in message and f"because {tmp_path / 'text'} is not a directory" in message
    adapt = ["adapt", "fspo-mini", "missing.jsonl", "--overwrite", "--output"]
    assert "Choose a new file, or a saved user to replace" in expect_error(capsys, [*adapt, "folder"])
    assert "cannot be read as safetensors" in expect_error(capsys, [*adapt, "text"])
    for argv in (["evaluate", "fspo-mini", "--data", "missing.jsonl"], ["benchmark", "missing.toml"]):
        assert "text: already exists" in expect_error(capsys, [*argv, "--output", "text"])
    assert "folder: already exists" in expect_error(
        capsys, ["encode", "fspo-mini", "missing.jsonl", "--output", "folder"]
    )


def test_output_that_is_not_utf8_is_printed_with_escapes(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")
    os.rename(pairs, odd)
    assert fspo_main(["data", "validate", odd]) == 0
    assert rb"/\udcff.jsonl: 2 of 2 rows kept" in capfdbinary.readouterr().out


def fspo_main(argv: list[str]) -> int:
    from fspo_jax.cli import main

    return main(argv)


@pytest.mark.parametrize(
    "path", [*ODD, "a\0b", "a\0b.jsonl", "\ud800", "\ud800.toml"], ids=lambda path: ascii(path[:12])
)
def test_functions_with_an_odd_path_raise_errors_of_the_package(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    user = fspo.User("1", (fspo.Preference("p", "a", "b"),))
    calls: list[Callable[[str], Any]] = [fspo.load_users, load_pairs, load_config, import_users]
    for call in calls:
        with pytest.raises(FspoError) as caught:
            call(path)
        assert str(caught.value).encode("utf-8", "backslashreplace")
    if path.count("/") > 100:
        return  # can be written, but pytest cannot remove it
    for write in (
        lambda path: fspo.load_users(BAD_ROW, rejects=path),
        lambda path: export_users({"train": [user]}, path),
    ):
        try:
            write(path)
        except FspoError as error:
            assert str(error).encode("utf-8", "backslashreplace")


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("depth", [100, 2000, 50_000])
@pytest.mark.parametrize(
    "wrap",
    [lambda value: [value], lambda value: {"role": "user", "content": value}, lambda value: {"a": value}],
    ids=["lists", "messages", "objects"],
)
def test_values_nested_very_deeply_are_refused(depth: int, wrap: Callable[[Any], Any]) -> None:
    value = nested(depth, wrap)
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    rows = [{**row, key: value} for key in (*row, "group")]
    rows += [{"prompt": "p", "answer_a": "a", "answer_b": "b", "winner": value}]
    rows += [{"prompt": "p", "completion": "a", "label": value}]
    for call in (
        *(lambda row=row: load_pairs([row]) for row in rows),
        *(lambda row=row: AdaptRequest.from_json({"pairs": [row]}) for row in rows),
        lambda: fspo.load_users(value),
        lambda: fspo.Preference(value, "a", "b"),
        lambda: RerankRequest.from_json({"prompt": value, "candidates": ["a"]}),
        lambda: RerankRequest.from_json({"prompt": "p", "candidates": value}),
        lambda: RerankRequest.from_json({"prompt": "p", "candidates": [value]}),
        lambda: RerankRequest.from_json({"prompt": "p", "candidates": [], "top_k": value}),
        lambda: EncodeRequest.from_json([value]),
    ):
        with pytest.raises(FspoError) as caught:
            call()
        assert len(str(caught.value)) < 2000
    loaded = fspo.load_users([{**row, "user_id": 1} for row in rows[:4]] * 2)
    assert len(loaded.rejects) == 8 and not loaded.users
