"""Bad rows are set aside with line and reason."""

from __future__ import annotations

import csv
import json
import os
import threading

import pytest
from row_files import CONVERSATION, pairs, row, write, write_jsonl

from fspo_jax.arguments import MAX_TEXT_CHARACTERS
from fspo_jax.data.readers import _csv_records
from fspo_jax.data.rejects import REASONS
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError
from fspo_jax.types import Preference

BAD = {
    "broken JSON": ['{"user_id": "u0"', "nonsense", "[" * 100_000, "9" * 5_000],
    "broken UTF-8": [json.dumps(row(7)).encode().replace(b"good", b"go\xffd")],
    "malformed row": [
        '{"user_id": "a", "prompt": "x", "chosen": "y", "rejected": "z", "chosen": "w"}',
        row(7, messages=CONVERSATION),
    ],
    "wrong type": [
        "[1, 2]",
        "7",
        "null",
        row(7, user_id=1.5),
        row(7, user_id=True),
        row(7, user_id=[3]),
        row(7, chosen=1.5),
        row(7, rejected={"text": "x"}),
        row(7, prompt=True),
        row(7, prompt=["x"]),
        row(7, prompt=[{"role": "user"}]),
        row(7, prompt=[{"role": "user", "content": None}]),
        row(7, prompt=None, messages="hello"),
        row(7, chosen=[{"role": "user", "content": "x"}]),
        row(7, chosen=[{"role": "assistant", "content": "x"}] * 2),
        row(7, chosen=[]),
        row(7, group=4),
        row(7, description=["kind"]),
        row(7, prompt="lone surrogate" and [["lone surrogate"]]),
    ],
    "missing field": [
        row(7, user_id=None),
        row(7, prompt=None),
        row(7, chosen=None),
        row(7, rejected=None),
        '{"user_id": null, "prompt": "x", "chosen": "y", "rejected": "z"}',
        "{}",
    ],
    "empty field": [
        row(7, user_id=" "),
        row(7, prompt=""),
        row(7, chosen="\n"),
        row(7, rejected=""),
        row(7, prompt=[]),
        row(7, prompt=[{"role": "user", "content": " "}]),
        row(7, chosen=[{"role": "assistant", "content": ""}]),
    ],
    "lone surrogate": [row(7, chosen="\udcff"), row(7, prompt=[{"role": "user", "content": "\ud800"}])],
    "over-long text": [row(7, chosen="x" * (MAX_TEXT_CHARACTERS + 1))],
    "chosen equals rejected": [row(7, rejected="good 7"), row(7, rejected=" good 7\n")],
    "conflicting group": [row(6, group="south")],
    "conflicting description": [row(6, description="kind")],
    "duplicate": [row(0)],
    "contradiction": [row(0, chosen="bad 0", rejected="good 0")],
}


def test_bad_rows_table_covers_every_reason():
    assert set(BAD) | {"no partner"} == set(REASONS)  # that one is of labelled responses only


@pytest.mark.parametrize(("kind", "bad"), [(kind, bad) for kind, rows in BAD.items() for bad in rows])
def test_load_users_bad_row_is_set_aside_with_line_and_reason(tmp_path, kind, bad):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0, group="north", description="curt"), "", bad, row(1)])
    loaded = load_users(path)
    (reject,) = loaded.rejects
    assert (reject.file, reject.line, reject.kind) == (str(path), 3, kind)
    assert reject.reason and not reject.reason.endswith(".")
    assert loaded.counts == {"rows": 3, "kept": 2, kind: 1}
    assert len(loaded.users) == 2
    assert kind in loaded.summary()
    with pytest.raises(DataError, match=f"x.jsonl:3: {kind}: "):
        load_users(path, strict=True)


def test_load_users_longest_allowed_text_is_kept(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [row(chosen="x" * MAX_TEXT_CHARACTERS)])
    assert load_users(path).counts["kept"] == 1


def test_load_users_contradiction_keeps_the_earlier_row_and_names_it(tmp_path):
    swapped = row(0, chosen="bad 0", rejected="good 0")
    loaded = load_users(write_jsonl(tmp_path / "x.jsonl", [row(0), swapped, row(0), row(1)]))
    assert [r.kind for r in loaded.rejects] == ["contradiction", "duplicate"]
    assert all("x.jsonl:1" in r.reason for r in loaded.rejects)
    assert pairs(loaded)["u0"] == (Preference("prompt 0", "good 0", "bad 0"),)


def test_load_users_same_pair_of_two_users_is_no_duplicate(tmp_path):
    rows = [row(0, user_id="a"), row(0, user_id="b", chosen="bad 0", rejected="good 0")]
    assert load_users(write_jsonl(tmp_path / "x.jsonl", rows)).counts == {"rows": 2, "kept": 2}


def test_load_users_equal_texts_are_one_object(tmp_path):
    rows = [row(0), row(0, user_id="other")]
    first, second = (u.preferences[0] for u in load_users(write_jsonl(tmp_path / "x.jsonl", rows)).users)
    assert first.chosen is second.chosen and first.prompt is second.prompt


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_load_users_other_formats_give_the_row_number(tmp_path, ending):
    rows = [row(0, chosen="two\nlines" if ending == ".csv" else "x"), row(1, chosen=""), row(2)]
    (reject,) = load_users(write(tmp_path / f"x{ending}", rows)).rejects
    assert (reject.line, reject.kind) == ({".csv": 4, ".json": 2, ".parquet": 2}[ending], "empty field")
    assert "prompt 1" in reject.row


CSV_HEAD = b"user_id,prompt,chosen,rejected\nu0,p,c,r\n"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"u0,p,c", "malformed row"),
        (b"u0,p,c,r,more", "malformed row"),
        (b'u0,p,c,"r" x', "malformed row"),
        (b"u0,p,c\xff,r2", "broken UTF-8"),
        (b"u0,,c,r2", "empty field"),
        (b"u0,p,c," + b"x" * 200_000, "over-long text"),
    ],
)
def test_load_users_csv_bad_row_is_set_aside_and_the_next_is_read(tmp_path, line, kind):
    path = tmp_path / "x.csv"
    path.write_bytes(CSV_HEAD + line + b"\n\nu1,p,c,r\n")
    loaded = load_users(path)
    assert [(r.line, r.kind) for r in loaded.rejects] == [(3, kind)]
    assert [u.user_id for u in loaded.users] == ["u0", "u1"]
    assert csv.field_size_limit() == 131072


def test_csv_with_long_cells_is_read_beside_another_in_a_thread():
    first_reads, second_reads, first_read = (threading.Event() for _ in range(3))

    def first():
        yield "a,b\n"
        first_reads.set()
        second_reads.wait(0.5)
        yield "c,d\n"

    def second():
        yield "a,b\n"
        second_reads.set()
        first_read.wait(10)
        yield f"c,{'d' * 200_000}\n"

    def read_first():
        records = _csv_records(first(), "first")
        assert len([next(records), next(records)]) == 2
        first_read.set()

    thread = threading.Thread(target=read_first)
    thread.start()
    first_reads.wait(10)
    problems = [problem for _, _, _, problem in _csv_records(second(), "second")]
    thread.join()
    assert problems == ["", ""] and csv.field_size_limit() == 131072


def test_load_users_csv_open_quote_says_how_many_lines_it_took(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(CSV_HEAD + b'u1,p,"c,r\nu2,p,c,r\nu3,p,c,r\n')
    (reject,) = load_users(path).rejects
    assert (reject.line, reject.kind) == (3, "malformed row")
    assert "3 lines" in reject.reason and "u3" in reject.row


def test_load_users_large_parquet_counts_rows_over_the_whole_file(tmp_path):
    rows = [row(i, chosen="" if i == 9_999 else "x") for i in range(10_000)]
    (reject,) = load_users(write(tmp_path / "x.parquet", rows)).rejects
    assert reject.line == 10_000


def test_load_users_parquet_broken_text_and_dates_do_not_hide_good_rows(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    broken = pyarrow.array([b"a", b"b\xff", b"c"]).view(pyarrow.string())
    table = pyarrow.table(
        {
            "user_id": ["u", "u", "u"],
            "prompt": ["p", "p", "p"],
            "chosen": broken,
            "rejected": ["x", "y", "z"],
            "when": pyarrow.array([2**62] * 3, pyarrow.timestamp("us")),
        }
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    loaded = load_users(tmp_path / "x.parquet")
    assert [(r.line, r.kind) for r in loaded.rejects] == [(2, "broken UTF-8")]
    assert loaded.counts["kept"] == 2


def test_load_users_rejects_file_is_lossless(tmp_path):
    bad = json.dumps(row(1)).encode().replace(b"good", b"g\xff\xfed")
    path = write_jsonl(tmp_path / "x.jsonl", [row(0), bad, row(2, chosen="\udcaa"), "é {"])
    target = tmp_path / "made" / "x.rejects.jsonl"
    loaded = load_users(path, rejects=target)
    entries = [json.loads(line) for line in target.read_bytes().splitlines()]
    assert [e["line"] for e in entries] == [2, 3, 4]
    assert set(entries[0]) == {"file", "line", "kind", "reason", "row"}
    lines = path.read_bytes().splitlines()
    for entry, reject in zip(entries, loaded.rejects, strict=True):
        assert entry["row"] == reject.row
        assert entry["row"].encode("utf-8", "surrogateescape") == lines[entry["line"] - 1]
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    assert target.stat().st_mode & 0o777 == 0o600 and target.parent.stat().st_mode & 0o777 == 0o700


def test_load_users_without_bad_rows_leaves_no_rejects_file(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0)])
    target = tmp_path / "x.rejects.jsonl"
    target.write_text("old")
    load_users(path, rejects=target)
    assert not target.exists()


def test_load_users_rejects_file_never_becomes_data(tmp_path):
    write_jsonl(tmp_path / "x.jsonl", [row(0), "bad"])
    for target in (tmp_path / "x.jsonl", tmp_path / "bad.jsonl", tmp_path):
        with pytest.raises(DataError, match="cannot be used for rejects"):
            load_users(tmp_path, rejects=target)
    first = load_users(tmp_path, rejects=tmp_path / "x.rejects.jsonl")
    assert load_users(tmp_path).counts == first.counts


def test_load_users_rejects_file_never_replaces_its_own_input(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0), "bad"])
    before = path.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(path)
    for target in (path, tmp_path / "link.jsonl"):
        with pytest.raises(DataError, match="cannot be used for rejects: it is one of the data files"):
            load_users(path, rejects=target)
    assert path.read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="cannot be used for rejects: it is a device or a pipe"):
        load_users(path, rejects=tmp_path / "pipe")


def test_load_users_rejects_file_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = write_jsonl(tmp_path / "x.jsonl", [row(0), "bad"])
    target = tmp_path / "x.rejects.jsonl"
    target.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="cannot be written: No space left"):
        load_users(path, rejects=target)
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.jsonl", "x.rejects.jsonl"]
