"""Rows and files of rows for the tests of loading preferences."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from fspo_jax.types import Preference


def row(i: int = 0, **changes: object) -> dict:
    """A good row; `changes` replace fields, `None` removes one."""
    fields = {"user_id": f"u{i % 2}", "prompt": f"prompt {i}", "chosen": f"good {i}", "rejected": f"bad {i}"}
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def write_jsonl(path: Path, rows: list) -> Path:
    """Writes dictionaries as JSON, strings and bytes as they are, one a line."""
    lines = [json.dumps(r) if isinstance(r, (dict, list)) else r for r in rows]
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n")
    return path


def pairs(loaded) -> dict[str, tuple[Preference, ...]]:
    return {user.user_id: user.preferences for user in loaded.users}


CONVERSATION = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
EXPECTED = {
    f"u{k}": tuple(Preference(f"prompt {i}", f"good {i}", f"bad {i}") for i in range(k, 6, 2)) for k in (0, 1)
}


def write(path: Path, rows: list[dict]) -> Path:
    """Writes rows in the format of the path's extension."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    plain = path.with_name(name)
    if name.endswith(".jsonl"):
        write_jsonl(plain, rows)
    elif name.endswith(".json"):
        plain.write_text(json.dumps(rows), encoding="utf-8")
    else:
        with open(plain, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path
