"""Containers without a name that says their format: bytes, pipes, tables with other separators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from shape_cases import rows

import fspo_jax as fspo
from fspo_jax.errors import DataError
from fspo_jax.types import Preference


def test_csv_of_semicolons_or_tabs_is_read(tmp_path: Path) -> None:
    for separator in ";\t":
        text = f"user_id{separator}prompt{separator}chosen{separator}rejected\n7{separator}p, q{separator}x{separator}y"
        assert fspo.load_users(text.encode())[0].preferences == (Preference("p, q", "x", "y"),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the bytes: empty, or only a header"),
        (b"nonsense", "the bytes: empty, or only a header"),
        (b"nonsense\nmore", "missing column user_id, prompt, chosen, rejected. Found: nonsense"),
        (b'{"user_id": 1', "no row can be read. The first, line 1: broken JSON"),
        (b"PAR1", "not a readable parquet file"),
        (b"\x1f\x8bxx", "damaged or truncated gzip data"),
        ("a".encode("utf-16"), "UTF-16"),
        (3, "pairs must be a list of rows such as {prompt, chosen, rejected}, not 3"),
        ({"pairs": "x"}, "pairs must be a list of rows"),
    ],
)
def test_load_users_bytes_and_values_that_are_no_rows_say_so(data: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        fspo.load_users(data)
    assert message in str(caught.value)


def test_load_users_spreadsheet_says_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="Save a spreadsheet as CSV in UTF-8"):
        fspo.load_users(tmp_path / "x.xlsx")


def test_load_users_named_pipe_is_read_like_standard_input(tmp_path: Path) -> None:
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "\n".join(json.dumps(row) for row in rows())
    writer = threading.Thread(target=lambda: pipe.write_text(text), daemon=True)
    writer.start()
    assert len(fspo.load_users(pipe)) == 2
