"""Files to numbered raw rows, one reader for each format; what a row means is the business of `data.rows`.

Only the parquet reader needs pyarrow and only a `datasets` id or directory needs `datasets`; both are
imported when first used.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fspo_jax.data.samples import resolve_sample
from fspo_jax.errors import DataError, did_you_mean

EXTENSIONS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
"""Known endings of data files."""

REJECTS_EXTENSION = ".rejects.jsonl"
"""Ending of rejects files; a directory's files with this ending are never read as data."""

_METADATA_FILES = {"dataset_info.json", "dataset_infos.json", "config.json"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class RawRow(NamedTuple):
    """One row as it stands in the file.

    Attributes:
        line: 1-based line (jsonl, csv) or row number (json, parquet, `datasets`).
        raw: The source text of the row, or the parsed row where the format has no text of its own.
            Bytes that are not UTF-8 stand as surrogate escapes.
        fields: Column to value, or `None` when `problem` says why the row cannot be read.
        problem: (kind, reason), or `None`.
    """

    line: int
    raw: Any
    fields: Mapping[str, Any] | None
    problem: tuple[str, str] | None = None


def open_source(path: str | Path) -> tuple[list[tuple[str, Iterable[RawRow]]], tuple[str, ...]]:
    """Finds the data files behind a path or a `datasets` id.

    Args:
        path: A data file, a directory (searched with its subdirectories), a directory written by
            `datasets.save_to_disk`, or a `datasets` id such as `"owner/name"`. An existing path wins
            over an id of the same spelling. Or `sample:NAME`, people that come with the package.

    Returns:
        (name, rows) for each file or `datasets` split, in sorted order, rows being read lazily; and the
        names of files in the directory that hold no rows.

    Raises:
        DataError: Nothing is there, the extension is unknown, or the directory has no data file. The
            iterables raise it for a file that is damaged as a whole.
    """
    path = resolve_sample(path)
    try:
        exists, is_directory = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r:.200} cannot be looked up: {error}") from None
    if is_directory:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            return _read_datasets(path, saved=True), ()
        return _open_directory(path)
    if exists:
        if extension(path.name) is None:
            raise DataError(f"{path}: unknown extension. Known: {', '.join(EXTENSIONS)}; or a directory.")
        return [(str(path), read_file(path))], ()
    looks_like_id = _HUB_ID.fullmatch(str(path)) and not any(map(extension, path.parts))
    if looks_like_id and not path.parent.is_dir():
        return _read_datasets(path, saved=False), ()
    raise DataError(f"{path}: no such file or directory.{_suggest(path)}")


def read_file(path: Path) -> Iterator[RawRow]:
    """Yields the rows of one file whose extension is known; raises `DataError` when it cannot be read."""
    kind = extension(path.name) or ""
    opened = gzip.open if kind.endswith(".gz") else open
    try:
        if kind == ".parquet":
            yield from _read_parquet(path)
            return
        with opened(path, "rb") as file:
            start = file.read(3)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{path}: the file is UTF-16. Save it as UTF-8.")
        if start[:2] == b"\x1f\x8b":
            raise DataError(f"{path}: the content is gzip-compressed. Add '.gz' to the file's name.")
        reader = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv}[kind.removesuffix(".gz")]
        with opened(path, "rb") as file:
            yield from reader(path, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: damaged or truncated gzip file ({error}). Get the file again; nothing was loaded."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def extension(name: str) -> str | None:
    """The known extension that a file name ends with, in any case of letters, or `None`."""
    lower = name.lower()
    return max((e for e in EXTENSIONS if lower.endswith(e)), key=len, default=None)


def _open_directory(path: Path) -> tuple[list[tuple[str, Iterable[RawRow]]], tuple[str, ...]]:
    found, skipped = [], []
    for root, directories, names in os.walk(path):
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
            f"{path}: the directory has no data file ({'it holds ' + names if names else 'it is empty'}). "
            f"Known extensions: {', '.join(EXTENSIONS)}."
        )
    return [(str(p), read_file(p)) for p in sorted(found)], tuple(str(p) for p in sorted(skipped))


def _suggest(path: Path) -> str:
    """Names the first part of the path that is missing and a sibling of similar name."""
    while not path.parent.is_dir():
        path = path.parent
    try:
        siblings = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    except OSError:
        return ""
    if hint := did_you_mean(path.name, siblings):
        return f" '{path.parent}' has no '{path.name}'.{hint}"
    shown = ", ".join(siblings[:8]) + (", ..." if len(siblings) > 8 else "")
    return f" '{path.parent}' has no '{path.name}'; it holds: {shown or 'nothing'}."


class _Repeated(dict):
    """A JSON object in which a key stands twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _Repeated(pairs)


_DECODE = json.JSONDecoder(object_pairs_hook=_object).decode


def _json_row(line: int, raw: Any, value: Any) -> RawRow:
    if type(value) is dict:
        return RawRow(line, raw, value)
    if isinstance(value, _Repeated):
        return RawRow(line, raw, None, ("malformed row", "a key stands twice in the object"))
    return RawRow(line, raw, None, ("wrong type", f"the row must be an object, not {type(value).__name__}"))


def _read_jsonl(path: Path, file: Iterable[bytes]) -> Iterator[RawRow]:
    for number, data in enumerate(file, 1):
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        data = data.strip(b" \t\r\n")
        if not data:
            continue
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            reason = f"byte {error.start + 1} of the line is not UTF-8"
            yield RawRow(number, data.decode("utf-8", "surrogateescape"), None, ("broken UTF-8", reason))
            continue
        try:
            value = _DECODE(text)
        except (ValueError, RecursionError) as error:
            yield RawRow(number, text, None, ("broken JSON", f"not JSON: {error}"))
            continue
        yield _json_row(number, text, value)


def _read_json(path: Path, file: Any) -> Iterator[RawRow]:
    data = file.read().removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        return
    try:
        value = _DECODE(data.decode())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start + 1} is not UTF-8.") from None
    except (ValueError, RecursionError) as error:
        hint = " For one object a line, name the file '.jsonl'." if "Extra data" in str(error) else ""
        raise DataError(f"{path}: not JSON: {error}.{hint}") from None
    if not isinstance(value, list):
        raise DataError(f"{path}: must hold a list of rows, not {type(value).__name__}.")
    for number, row in enumerate(value, 1):
        yield _json_row(number, row, row)


def _read_csv(path: Path, file: Any) -> Iterator[RawRow]:
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        header: list[str] | None = None
        for line, raw, cells, problem in _csv_records(text):
            if header is None:
                if problem or len(set(cells)) < len(cells):
                    raise DataError(
                        f"{path}: the header {raw.strip()!r:.80} is no list of distinct column names."
                    )
                header = cells or None  # a blank first line is no header
            elif not problem and not cells:
                continue
            elif not raw.isascii() and any("\udc80" <= c <= "\udcff" for c in raw):
                yield RawRow(line, raw, None, ("broken UTF-8", "the row holds bytes that are not UTF-8"))
            elif not problem and len(cells) != len(header):
                problem = f"the row has {len(cells)} cells, the header {len(header)}"
                yield RawRow(line, raw, None, ("malformed row", problem))
            elif problem:
                yield RawRow(line, raw, None, ("malformed row", problem))
            else:
                yield RawRow(line, raw, dict(zip(header, cells, strict=True)))
    finally:
        text.detach()  # the caller closes the file


def _csv_records(text: Iterable[str]) -> Iterator[tuple[int, str, list[str], str]]:
    """Yields (line, source text, cells, problem or `""`) of each record."""
    taken: list[str] = []  # the lines of the current record

    def lines() -> Iterator[str]:
        for line in text:
            taken.append(line)
            yield line

    records = csv.reader(lines(), strict=True)
    number = 1
    while True:
        taken.clear()
        # The limit is one for the whole process and by default below what a quoted cell may hold.
        limit = csv.field_size_limit(sys.maxsize)
        try:
            cells, problem = next(records), ""
        except StopIteration:
            return
        except csv.Error as error:
            cells, problem = [], f"not CSV: {error}; the record has {len(taken)} lines"
        finally:
            csv.field_size_limit(limit)
        yield number, "".join(taken), cells, problem
        number += len(taken)


def _read_parquet(path: Path) -> Iterator[RawRow]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(f"{path}: parquet needs pyarrow. Install it, or convert the file to jsonl.") from None
    try:
        with open(path, "rb") as file:
            table = pyarrow.parquet.ParquetFile(file).read()
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: not a readable parquet file: {error}") from None
    yield from _table_rows(str(path), table)


def _table_rows(source: str, table: Any) -> Iterator[RawRow]:
    """Rows of a pyarrow table; nulls are left out, so that a null equals a missing field."""
    names = table.column_names
    if len(set(names)) < len(names):
        raise DataError(f"{source}: two columns have one name: {', '.join(sorted(names))}.")
    start = 0
    for batch in table.to_batches(max_chunksize=4096):
        columns = [_column_values(column) for column in batch.columns]
        for number, values in enumerate(zip(*columns, strict=True), start + 1):
            fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            broken = any(isinstance(value, UnicodeDecodeError) for value in values)
            if broken:
                yield RawRow(number, fields, None, ("broken UTF-8", "the row holds bytes that are not UTF-8"))
            else:
                yield RawRow(number, fields, fields)
        start += batch.num_rows


def _column_values(column: Any) -> list[Any]:
    """Python values of an arrow column; a value that Python cannot hold is replaced by its error."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, ImportError):  # broken UTF-8, dates out of range, ...
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, ImportError) as error:
        return error


def _read_datasets(path: Path, *, saved: bool) -> list[tuple[str, Iterable[RawRow]]]:
    what = "a `datasets` directory" if saved else "no such file or directory; as a `datasets` id"
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"{path}: {what}, it needs the package `datasets`. Install it, or convert the rows to jsonl."
        ) from None
    try:
        loaded = datasets.load_from_disk(str(path)) if saved else datasets.load_dataset(str(path))
    except Exception as error:  # the hub, the cache and every builder have errors of their own
        hint = "" if saved else _suggest(path)
        raise DataError(
            f"{path}: {what}, it cannot be loaded: {type(error).__name__}: {error}{hint}"
        ) from error
    splits = {f"{path}[{name}]": part for name, part in loaded.items()} if isinstance(loaded, dict) else {}
    return [
        (name, _table_rows(name, part.with_format("arrow")[:]))
        for name, part in (splits or {str(path): loaded}).items()
    ]
