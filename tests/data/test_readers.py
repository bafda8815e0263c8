"""Damaged files, wrong paths, any bytes at all."""

from __future__ import annotations

import gzip
import json
import random
import time
from pathlib import Path

import pytest
from row_files import row, write, write_jsonl

from fspo_jax.data import readers
from fspo_jax.data.locations import source_name
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError


def bad_file(tmp_path: Path, case: str) -> Path:
    compressed = gzip.compress(b"\n".join(json.dumps(row(i)).encode() for i in range(1000)))
    contents = {
        "truncated.jsonl.gz": compressed[: len(compressed) // 2],
        "flipped.jsonl.gz": compressed[:-8] + b"\0" * 8,
        "plain.jsonl.gz": json.dumps(row()).encode(),
        "zipped.jsonl": compressed,
        "empty.jsonl": b"",
        "blank.jsonl": b"\n \n",
        "empty.csv": b"",
        "header.csv": b"user_id,prompt,chosen,rejected\n",
        "twice.csv": b"user_id,prompt,chosen,chosen\na,b,c,d\n",
        "empty.json": b" ",
        "object.json": b"{}",
        "lines.json": b"{}\n{}",
        "list.json": b"[]",
        "utf16.jsonl": json.dumps(row()).encode("utf-16"),
        "noise.jsonl": b"one\ntwo\n",
        "noise.parquet": b"PAR1nonsensePAR1",
        "empty.parquet": b"",
        "people.xlsx": b"x",
        "columns.jsonl": json.dumps(row(chosen=None, prompt=None) | {"winner": "x"}).encode(),
        "columns.csv": b"user,prompt,chosen,rejected\na,b,c,d\n",
    }
    path = tmp_path / case
    path.write_bytes(contents[case])
    return path


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("truncated.jsonl.gz", "damaged or truncated gzip"),
        ("flipped.jsonl.gz", "damaged or truncated gzip"),
        ("plain.jsonl.gz", "damaged or truncated gzip"),
        ("zipped.jsonl", "gzip-compressed. Add '.gz'"),
        ("empty.jsonl", "empty"),
        ("blank.jsonl", "empty"),
        ("empty.csv", "empty"),
        ("header.csv", "empty"),
        ("twice.csv", "not a list of distinct column names"),
        ("empty.json", "empty"),
        ("object.json", "must be a list of rows, not dict"),
        ("lines.json", "name the file '.jsonl'"),
        ("list.json", "empty"),
        ("utf16.jsonl", "UTF-16"),
        ("noise.jsonl", "no row can be read. The first, line 1: broken JSON"),
        ("noise.parquet", "not a readable parquet file"),
        ("empty.parquet", "not a readable parquet file"),
        ("people.xlsx", "unknown extension. Known: .jsonl, "),
        ("columns.jsonl", "missing column prompt, chosen. Found: user_id, rejected, winner"),
        ("columns.csv", "missing column user_id. Found: user, prompt, chosen, rejected"),
    ],
)
def test_load_users_damaged_file_raises_data_error(tmp_path, case, message):
    if case.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=message) as caught:
        load_users(bad_file(tmp_path, case))
    assert case in str(caught.value)


@pytest.mark.parametrize("wrong", ["peple.jsonl", "people", "people.json/more", "sub/peple.jsonl"])
def test_load_users_wrong_path_suggests_a_sibling(tmp_path, monkeypatch, wrong):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    for name in ("people.jsonl", "sub/people.jsonl"):
        write_jsonl(Path(name), [row()])
    with pytest.raises(DataError, match=r"no such file.*Did you mean 'people.jsonl'\?"):
        load_users(wrong)


def test_load_users_wrong_path_without_close_name_lists_the_directory(tmp_path):
    write_jsonl(tmp_path / "people.jsonl", [row()])
    with pytest.raises(DataError, match=r"it has: people\.jsonl"):
        load_users(tmp_path / "zzz.csv")


def test_load_users_directory_without_data_says_what_it_holds(tmp_path):
    with pytest.raises(DataError, match=r"no data file \(it is empty"):
        load_users(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"it has notes\.txt"):
        load_users(tmp_path)


@pytest.mark.parametrize("path", ["a\0b.jsonl", "x" * 5000 + ".jsonl"])
def test_load_users_impossible_path_raises_data_error(path):
    with pytest.raises(DataError, match="cannot be used as a path"):
        load_users(path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/polis_en.jsonl.gz", "polis_en"),
        ("a/b.csv", "b"),
        ("data/study/", "study"),
        ("owner/people", "people"),
    ],
)
def test_source_name_is_the_stem(path, name):
    assert source_name(path) == name


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Damages bytes: noise, cuts, repeats, and pieces that parsers dislike."""
    pieces = [
        b"\0",
        b"\xff",
        b'"',
        b"{",
        b"[" * 3000,
        b",",
        b"\n",
        b"\r",
        b"\\ud800",
        b"null",
        b"NaN",
        b"1e999",
    ]
    data = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.randint(0, 12))
        change = chance.randrange(4)
        if change == 0:
            data[at:end] = chance.randbytes(end - at)
        elif change == 1:
            del data[at : end if chance.random() < 0.8 else len(data)]
        elif change == 2:
            data[at:at] = chance.choice(pieces)
        else:
            data[at:at] = data[end : end + chance.randint(0, 200)]
    return bytes(data)


@pytest.mark.parametrize("ending", readers.EXTENSIONS)
def test_load_users_any_bytes_give_users_or_data_error(tmp_path, ending):
    """200 damaged files a format; every row is either kept or a reject, and nothing but DataError escapes."""
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    chance = random.Random(ending)
    good = write(
        tmp_path / f"good{ending}", [row(i, prompt="p" * i, group="é") for i in range(1, 5)]
    ).read_bytes()
    path, target = tmp_path / f"x{ending}", tmp_path / "out" / "x.rejects.jsonl"
    seen = {"users": 0, "rejects": 0, "errors": 0}
    for case in range(200):
        data = mutate(good, chance) if case % 10 else chance.randbytes(chance.randint(0, 300))
        if ending.endswith(".gz") and case % 2:
            data = gzip.compress(mutate(gzip.decompress(good), chance))
        path.write_bytes(data)
        try:
            loaded = load_users(path, rejects=target)
        except DataError:
            seen["errors"] += 1
            continue
        kept = sum(len(user.preferences) for user in loaded.users)
        assert loaded.counts["rows"] == kept + len(loaded.rejects) and loaded.counts["kept"] == kept
        assert target.exists() == bool(loaded.rejects)
        if loaded.rejects:
            assert len(target.read_bytes().splitlines()) == len(loaded.rejects)
        seen["users"] += bool(loaded.users)
        seen["rejects"] += bool(loaded.rejects)
    assert seen["errors"] > 0
    assert ending == ".parquet" or (seen["users"] > 0 and seen["rejects"] > 0)


def test_load_users_forty_thousand_rows_take_seconds_at_most(tmp_path):
    rows = [row(i, user_id=f"u{i // 10}", chosen=f"good {i} " * 20) for i in range(40_000)]
    path = write_jsonl(tmp_path / "x.jsonl", rows)
    start = time.perf_counter()
    loaded = load_users(path)
    elapsed = time.perf_counter() - start
    assert loaded.counts == {"rows": 40_000, "kept": 40_000}
    assert elapsed < 10  # about 0.4 s on 2 cores; the bound only catches a change of order


@pytest.mark.parametrize(
    ("name", "users", "rows", "contradictions"),
    [
        ("polis_en", 2903, 37751, 0),
        ("polarized", 432, 8600, 3),
        ("ukp_convincing", 2562, 32644, 9),
        ("lamp_experts", 9, 693, 0),
        ("pandalm_consensus", 3, 2277, 1),
    ],
)
def test_load_users_real_study_has_the_documented_counts(shared_data, name, users, rows, contradictions):
    loaded = load_users(shared_data / "data" / "real" / f"{name}.jsonl.gz")
    assert len(loaded.users) == users
    expected = {"rows": rows, "kept": rows - contradictions, "contradiction": contradictions}
    assert dict(loaded.counts) == {key: value for key, value in expected.items() if value}
