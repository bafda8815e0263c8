"""Hostile but possible input at the entry points of the data part: a clear error, or every character kept."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from fspo_jax.arguments import MAX_TEXT_CHARACTERS
from fspo_jax.config import DataConfig, PreferenceSource
from fspo_jax.data.build import load_split
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError, FspoError, LimitError
from fspo_jax.types import Message, Preference, check_prompt

LEGAL = [
    "\x00\x01\x1b[31m\x7f",
    "line\nfeed\r\nand\rreturn\u2028\u2029\x85",
    "naïve 你好 🤖👩‍👩‍👧 \u202eright to left\u202c",
    ' "quoted", and; separated\t',
    "</s><|im_end|>[INST] ## Preferred Response ",
    "{'json': [1]} \\ud800 \\",
    "=1+1",
    "a\ufeffb\ufffd\uffff",
    "x" * MAX_TEXT_CHARACTERS,
]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet"])
def test_load_users_odd_legal_texts_are_kept_to_the_character(tmp_path, ending):
    rows = [{"user_id": text[:9], "prompt": text, "chosen": text, "rejected": "no"} for text in LEGAL]
    users = load_users(write(tmp_path / f"x{ending}", rows), strict=True).users
    assert [user.user_id for user in users] == [text[:9].strip() for text in LEGAL]
    assert [user.preferences for user in users] == [(Preference(text, text, "no"),) for text in LEGAL]


@pytest.mark.parametrize("column", ["user_id", "prompt", "chosen", "rejected"])
def test_load_users_text_of_100_000_characters_is_set_aside_whole(tmp_path, column):
    row = {"user_id": "u", "prompt": "p", "chosen": "a", "rejected": "b"}
    path = write(tmp_path / "x.jsonl", [row, {**row, column: "long " * 20_000}])
    loaded = load_users(path, rejects=tmp_path / "x.rejects.jsonl")
    assert loaded.counts == {"rows": 2, "kept": 1, "over-long text": 1}
    assert loaded.rejects[0].reason.startswith(f"{column} has 100,000 characters; at most 50,000 are allowed")
    entry = json.loads((tmp_path / "x.rejects.jsonl").read_text())
    assert json.loads(entry["row"])[column] == "long " * 20_000


def test_load_users_strict_failure_writes_no_rejects_file(tmp_path):
    path = write(tmp_path / "x.jsonl", [{"user_id": "u"}])
    with pytest.raises(DataError):
        load_users(path, strict=True, rejects=tmp_path / "x.rejects.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]


def test_load_users_user_with_10_000_pairs_is_whole_and_in_order(tmp_path):
    rows = [{"user_id": "u", "prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(10_000)]
    (user,) = load_users(write(tmp_path / "x.jsonl", rows)).users
    assert [p.prompt for p in user.preferences] == [row["prompt"] for row in rows]


def test_load_users_unreadable_file_raises(tmp_path, monkeypatch):
    path = write(tmp_path / "x.jsonl", [{"user_id": "u"}])

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=r"x\.jsonl: cannot be read: Permission denied"):
        load_users(path)


def test_load_split_wrong_path_names_the_closest_file(tmp_path):
    write(tmp_path / "people.jsonl", [{"user_id": "u"}])
    config = DataConfig((PreferenceSource(str(tmp_path / "poeple.jsonl")),))
    with pytest.raises(DataError, match=r"no such file or directory.*Did you mean 'people\.jsonl'\?"):
        load_split(config, "train")


BAD_TEXT = [
    ("", DataError, "is empty"),
    (" \n\u3000", DataError, "is empty"),
    (None, DataError, "must be a string"),
    (3, DataError, "must be a string"),
    (b"bytes", DataError, "must be a"),
    ("half \ud83d pair", DataError, "lone surrogate at character 5"),
    ("x" * 100_000, LimitError, "has 100,000 characters; at most 50,000"),
]


@pytest.mark.parametrize(("value", "error", "message"), BAD_TEXT, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("name", ["prompt", "chosen", "rejected"])
def test_preference_bad_text_raises_and_names_the_field(name, value, error, message):
    with pytest.raises(error, match=message) as caught:
        Preference(**{"prompt": "p", "chosen": "a", "rejected": "b", name: value})
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize("text", LEGAL, ids=lambda text: repr(text)[:20])
def test_preference_odd_legal_text_is_kept(text):
    preference = Preference([{"role": "user", "content": text}], text, "no")
    assert preference.prompt == (Message("user", text),) and preference.chosen == text


@pytest.mark.parametrize(
    "prompt",
    [
        [],
        [{}],
        [{"role": "user"}],
        [{"role": "user", "content": "x", "name": "y"}],
        [{"role": 1, "content": "x"}],
        [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
        ["x"],
        [None],
        {"role": "user", "content": "x"},
        [{"role": "user", "content": "\udfff"}],
        [{"role": "user", "content": "x" * 100_000}],
        7,
    ],
    ids=lambda prompt: repr(prompt)[:40],
)
def test_check_prompt_malformed_conversation_raises(prompt):
    with pytest.raises(FspoError, match=r"^prompt"):
        check_prompt(prompt)
