"""Bad rows: why each was set aside, and the file they are written to."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fspo_jax.arguments import check_path
from fspo_jax.data.locations import REJECTS_EXTENSION
from fspo_jax.errors import DataError
from fspo_jax.private_files import private_directory, private_opener

MALFORMED = (
    "broken JSON",
    "broken UTF-8",
    "malformed row",
    "wrong type",
    "missing field",
    "empty field",
    "lone surrogate",
    "over-long text",
    "chosen equals rejected",
)
"""Kinds of rows that are not a preference."""

REASONS = (
    *MALFORMED,
    "conflicting group",
    "conflicting description",
    "duplicate",
    "contradiction",
    "no partner",
)
"""All kinds of bad rows. Those after `MALFORMED` are well formed but conflict with other rows."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was set aside.

    Attributes:
        file: Path, or `"id[split]"` of a `datasets` source.
        line: 1-based line (jsonl, csv) or row number (json, parquet, `datasets`).
        kind: One of `REASONS`.
        reason: What is wrong, in words.
        row: The text of the row in the file, or the row as JSON if the format has no lines. Bytes that are not UTF-8
            become surrogate escapes.
    """

    file: str
    line: int
    kind: str
    reason: str
    row: str


def write_rejects(path: str | Path, rejects: Iterable[Reject]) -> None:
    """Writes rejects as JSON lines, readable by the owner only. Never leaves half a file.

    An existing file is replaced once the new one is complete, and removed if there are no rejects. The field `row` is
    lossless: bytes that are not UTF-8 are written as `\\udcXX` escapes, so
    `json.loads(line)["row"].encode("utf-8", "surrogateescape")` is the original row.

    Args:
        path: The file. Missing parent directories are created.
        rejects: The bad rows.

    Raises:
        DataError: The file cannot be written.
    """
    path, rejects = Path(path), list(rejects)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        if not rejects:
            path.unlink(missing_ok=True)
            return
        private_directory(path.parent)
        with open(temporary, "xb", opener=private_opener) as file:
            for reject in rejects:
                entry = {name: getattr(reject, name) for name in Reject.__dataclass_fields__}
                text = json.dumps(entry, ensure_ascii=False) + "\n"
                file.write(text.encode("utf-8", "backslashreplace"))  # a surrogate becomes its JSON escape
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: the rejects file cannot be written: {error.strerror or error}.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_rejects_path(rejects: str | Path, source: str | Path, files: Iterable[str]) -> None:
    """Raises `DataError` if the rejects file would replace a data file or be read as data by the next load.

    Args:
        rejects: The file for rejects.
        source: The path that is loaded.
        files: The data files found there.
    """
    rejects, source = check_path(rejects, error=DataError), Path(source)
    target = os.path.realpath(rejects)
    inside = source.is_dir() and Path(target).is_relative_to(os.path.realpath(source))
    if rejects.is_dir():
        why = "it is a directory"
    elif rejects.exists() and not rejects.is_file():
        why = "it is a device or a pipe"
    elif target in map(os.path.realpath, files):
        why = "it is one of the data files"
    elif inside and not rejects.name.endswith(REJECTS_EXTENSION):
        why = f"the next load of {source} would read it as data"
    else:
        return
    raise DataError(
        f"{rejects}: cannot be used for rejects: {why}. Choose a name such as 'x{REJECTS_EXTENSION}'."
    )
