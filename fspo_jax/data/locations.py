"""Opens the source of rows: a file, a directory, a `datasets` id, standard input, bytes, or parsed rows."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fspo_jax.arguments import check_path, shown
from fspo_jax.data.limits import read_document
from fspo_jax.data.readers import (
    EXTENSIONS,
    RawRow,
    extension,
    read_bytes,
    read_file,
    read_values,
    table_rows,
)
from fspo_jax.data.samples import resolve_sample
from fspo_jax.errors import DataError, did_you_mean

STANDARD_INPUT = "-"
"""The path that means standard input."""

REJECTS_EXTENSION = ".rejects.jsonl"
"""Extension of rejects files. In a directory they are never read as data."""

Location = str | Path | bytes | Mapping[str, Any] | Iterable[Mapping[str, Any]]
"""A path, a `datasets` id, `-`, bytes, or rows that are already parsed."""

_METADATA_FILES = {"dataset_info.json", "dataset_infos.json", "config.json"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Opened(NamedTuple):
    """Files of rows, sorted by name.

    Attributes:
        files: (name, rows) of each file or `datasets` split. Rows are read when they are needed.
        skipped: Names of files in the directory that are not data files.
    """

    files: list[tuple[str, Iterable[RawRow]]]
    skipped: tuple[str, ...] = ()


def open_location(location: Location, name: str = "") -> Opened:
    """Finds the files of rows that a location names.

    Args:
        location: A data file; a directory (searched with its subdirectories); a directory written by
            `datasets.save_to_disk`; a `datasets` id such as `"owner/name"`; `sample:NAME`; `-` for standard input;
            bytes, whose content shows the file format; rows as mappings, or one mapping that is a row or has rows under
            `pairs`. An existing path wins over an id with the same name.
        name: Name of input without a path, in messages; by default "the bytes" or "the list of rows".

    Raises:
        DataError: The location does not exist, the extension is unknown, or the directory has no data file. Reading the
            rows raises it for a damaged file.
    """
    if isinstance(location, str | Path):
        return _open_path(location)
    if isinstance(location, bytes):
        name = name or "the bytes"
        return Opened([(name, read_bytes(location, name))])
    name = name or "the list of rows"
    rows: Any = location
    if isinstance(rows, Mapping):
        rows = rows["pairs"] if "pairs" in rows else [rows]
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise DataError(
            f"{name}: pairs must be a list of rows such as {{prompt, chosen, rejected}}, not {shown(rows)}."
        )
    return Opened([(name, read_values(rows))])


def read_location(path: str) -> tuple[str, bytes]:
    """Reads a file or standard input; returns its name for messages, and the bytes.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """
    if path == STANDARD_INPUT:
        name = "standard input"
        return name, read_document(sys.stdin.buffer, name) if sys.stdin else b""
    try:
        with open(path, "rb") as file:
            return path, read_document(file, path)
    except (OSError, ValueError) as error:
        if Path(path).is_dir():
            raise DataError(f"{path}: a directory, not a file.") from None
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path}: no such file.{_suggest(Path(path))}") from None
        raise DataError(f"{path}: cannot be read: {error}.") from None


def source_name(path: str | Path) -> str:
    """Default name of a source: the file name without extension, or the last part of a directory or id."""
    name = Path(os.path.abspath(resolve_sample(path))).name
    known = extension(name)
    return name[: -len(known)] if known else name


def _open_path(location: str | Path) -> Opened:
    if str(location) == STANDARD_INPUT:
        name, data = read_location(STANDARD_INPUT)
        return Opened([(name, read_bytes(data, name))])
    path = resolve_sample(check_path(location, error=DataError))
    exists = path.exists()
    if path.is_dir():
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            return Opened(_read_datasets(path, saved=True))
        return _open_directory(path)
    if exists and not path.is_file():  # a pipe, such as that of <(...)
        name, data = read_location(str(path))
        return Opened([(name, read_bytes(data, name))])
    if exists:
        if extension(path.name) is None:
            hint = " Save a spreadsheet as CSV in UTF-8." if path.suffix in (".xlsx", ".xls", ".ods") else ""
            raise DataError(
                f"{path}: unknown extension. Known: {', '.join(EXTENSIONS)}; or a directory.{hint}"
            )
        return Opened([(str(path), read_file(path))])
    looks_like_id = _HUB_ID.fullmatch(str(path)) and not any(map(extension, path.parts))
    if looks_like_id and not path.parent.is_dir():
        return Opened(_read_datasets(path, saved=False))
    raise DataError(f"{path}: no such file or directory.{_suggest(path)}")


def _walk(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    try:
        yield from os.walk(path)
    except RecursionError:
        raise DataError(f"{path}: the directories are nested too deeply to be searched.") from None


def _open_directory(path: Path) -> Opened:
    found, skipped = [], []
    for root, directories, names in _walk(path):
        directories[:] = [d for d in directories if not d.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            is_data = extension(name) is not None and name not in _METADATA_FILES
            is_data = is_data and not name.lower().endswith(REJECTS_EXTENSION)
            (found if is_data else skipped).append(Path(root) / name)
    if not found:
        names = ", ".join(sorted(p.name for p in skipped)[:5])
        raise DataError(
            f"{path}: the directory has no data file ({'it has ' + names if names else 'it is empty'}). "
            f"Known extensions: {', '.join(EXTENSIONS)}."
        )
    return Opened([(str(p), read_file(p)) for p in sorted(found)], tuple(str(p) for p in sorted(skipped)))


def _suggest(path: Path) -> str:
    """Names the first missing part of the path, and a sibling with a similar name."""
    while not path.parent.is_dir():
        path = path.parent
    try:
        siblings = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    except OSError:
        return ""
    where = "The current directory" if path.parent == Path() else f"'{path.parent}'"
    if hint := did_you_mean(path.name, siblings):
        return f" {where} has no '{path.name}'.{hint}"
    listed = ", ".join(siblings[:8]) + (", ..." if len(siblings) > 8 else "")
    return f" {where} has no '{path.name}'; it has: {listed or 'nothing'}."


def _read_datasets(path: Path, *, saved: bool) -> list[tuple[str, Iterable[RawRow]]]:
    try:
        import datasets
    except ImportError:
        what = "this `datasets` directory" if saved else "no such file or directory, and a `datasets` id"
        raise DataError(
            f"{path}: {what} needs the package `datasets`. Install it, or convert the rows to jsonl."
        ) from None
    try:
        loaded = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path))
    except Exception as error:  # the hub, the cache and every builder have errors of their own
        why = f"{type(error).__name__}: {error}"
        if saved:
            raise DataError(f"{path}: this `datasets` directory cannot be loaded: {why}") from error
        raise DataError(
            f"{path}: no such file or directory, and no `datasets` id of that name could be downloaded from the hub: "
            f"{why}.{_suggest(path)}"
        ) from error
    splits = {f"{path}[{name}]": part for name, part in loaded.items()} if isinstance(loaded, dict) else {}
    tables: dict[str, Any] = {
        name: part.with_format("arrow")[:] for name, part in (splits or {str(path): loaded}).items()
    }
    return [
        (name, table_rows(name, table.column_names, table.to_batches(max_chunksize=4096)))
        for name, table in tables.items()
    ]
