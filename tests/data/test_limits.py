"""Damaged and hostile files are refused before they cost much memory."""

from __future__ import annotations

import gzip
import io
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from row_files import row, write, write_jsonl

import fspo_jax as fspo
from fspo_jax.data import limits
from fspo_jax.data.locations import read_location
from fspo_jax.errors import DataError

PEAK = """
import resource, sys, pathlib
import fspo_jax as fspo
from fspo_jax.data.sources import load_users
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
folder = pathlib.Path(sys.argv[1])
for load in (*sorted(folder.iterdir()), (folder / "x.jsonl.gz").read_bytes()):
    try:
        load_users(load)
    except fspo.FspoError as error:
        print(error)
print((peak() - before) // 1000)
"""


def test_load_users_line_of_gigabytes_in_a_small_gzip_costs_little_memory(tmp_path: Path) -> None:
    member = gzip.compress(b"x" * 2**24)
    for name in ("x.jsonl.gz", "x.json.gz", "x.csv.gz"):
        (tmp_path / name).write_bytes(member * 90)  # 1.5 GB
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6e6
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    *errors, megabytes = done.stdout.splitlines()
    assert len(errors) == 4 and int(megabytes) < 300, done.stdout
    assert "a line has more than 32 MiB" in errors[0] and "128 MiB cannot be read at once" in errors[1]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINE_BYTES", 200_000)
    monkeypatch.setattr(limits, "DOCUMENT_BYTES", 5000)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".jsonl.gz", ".csv.gz"])
def test_load_users_lines_up_to_the_limit_are_read_and_longer_ones_refused(
    ending: str, tmp_path: Path, small: None
) -> None:
    rows = [row(i, rejected=f"{i} " + "x" * 1500) for i in range(50)]  # longer than a document may be
    assert len(fspo.load_users(write(tmp_path / f"x{ending}", rows))) == 2
    rows[20]["rejected"] = random.Random(0).randbytes(150_000).hex()
    with pytest.raises(DataError, match="a line has more than 0 MiB"):
        fspo.load_users(write(tmp_path / f"y{ending}", rows))


def test_load_users_csv_record_of_many_lines_is_refused(tmp_path: Path, small: None) -> None:
    path = tmp_path / "x.csv"
    path.write_text('user_id,prompt,chosen,rejected\n1,"p,a,b\n' + "1,p,a,b\n" * 30_000, encoding="utf-8")
    with pytest.raises(DataError, match="or a quote is missing"):
        fspo.load_users(path)


def test_documents_and_streams_up_to_the_limit_are_read_and_longer_ones_refused(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = [row(i) for i in range(40)], [row(i) for i in range(200)]
    for ending in (".json", ".json.gz"):
        assert len(fspo.load_users(write(tmp_path / f"few{ending}", few))) == 2
        with pytest.raises(DataError, match=r"cannot be read at once\. Write the rows to a \.jsonl file"):
            fspo.load_users(write(tmp_path / f"many{ending}", many))
    with pytest.raises(DataError, match="cannot be read at once"):
        fspo.load_users(gzip.compress(json.dumps(many).encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(many).encode())))
    with pytest.raises(DataError, match="standard input: more than"):
        fspo.load_users("-")
    with pytest.raises(DataError, match="/dev/zero: more than"):
        fspo.load_users("/dev/zero")
    with pytest.raises(DataError, match="/dev/zero: more than"):
        read_location("/dev/zero")


def test_load_users_stream_that_expands_too_much_is_refused(tmp_path: Path, small: None) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 10**6))
    with pytest.raises(DataError, match="decompresses to more than 200 times its size"):
        fspo.load_users(path)
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist([row(i, rejected="x" * 10_000) for i in range(200)])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", use_dictionary=False, compression="zstd")
    with pytest.raises(DataError, match="decompresses to more than 200 times its size"):
        fspo.load_users(tmp_path / "x.parquet")


def test_load_users_too_many_malformed_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fspo_jax.data.collecting.MALFORMED_ROWS", 10)
    good = write_jsonl(tmp_path / "x.jsonl", [row(0), *["bad"] * 10, *[row(0)] * 50])
    assert fspo.load_users(good).counts["duplicate"] == 50
    with pytest.raises(DataError, match=r"x.jsonl:12: more than 10 rows are malformed, the last: not JSON"):
        fspo.load_users(write_jsonl(tmp_path / "x.jsonl", [row(0), *["bad"] * 11]))
