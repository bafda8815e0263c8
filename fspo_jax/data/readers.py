"""Reads files and bytes into numbered raw rows, with one reader per file format. `data.rows` says what a row means.

pyarrow is needed for parquet only, and imported when first used.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import re
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fspo_jax.data.limits import (
    Bounded,
    check_record,
    decompressed,
    expands_too_much,
    most_expanded,
    read_document,
)
from fspo_jax.errors import DataError, counted

EXTENSIONS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
"""Known extensions of data files."""

_GZIP, _PARQUET, _UTF_16 = b"\x1f\x8b", b"PAR1", (b"\xff\xfe", b"\xfe\xff")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)
"""The first line by which Excel marks the separator of a CSV file."""

_LONG_CELLS = threading.Lock()
"""Held while cells may be long: the limit of `csv` applies to all threads, and its default is too small for texts."""


class RawRow(NamedTuple):
    """One row of a file, unchanged.

    Attributes:
        line: 1-based line (jsonl, csv) or row number (json, parquet, `datasets`).
        raw: The text of the row, or the parsed row if the format is not text. Bytes that are not UTF-8 become surrogate
            escapes.
        fields: Column to value, or None if the row cannot be read.
        problem: Why it cannot be read, as (kind, reason), or None.
    """

    line: int
    raw: Any
    fields: Mapping[str, Any] | None
    problem: tuple[str, str] | None = None


def extension(name: str) -> str | None:
    """Returns the known extension of a file name, in upper or lower case, or None."""
    lower = name.lower()
    return max((e for e in EXTENSIONS if lower.endswith(e)), key=len, default=None)


def read_file(path: Path) -> Iterator[RawRow]:
    """Yields the rows of one file with a known extension; raises `DataError` if it cannot be read."""
    kind = extension(path.name) or ""
    opened = gzip.open if kind.endswith(".gz") else open
    try:
        if kind == ".parquet":
            with open(path, "rb") as file:
                yield from _read_parquet(str(path), file)
            return
        with opened(path, "rb") as file:
            start = file.read(3)
        if start[:2] in _UTF_16:
            raise DataError(f"{path}: the file is UTF-16. Save it as UTF-8.")
        if start[:2] == _GZIP:
            raise DataError(f"{path}: the content is gzip-compressed. Add '.gz' to the file's name.")
        kind, size = kind.removesuffix(".gz"), path.stat().st_size
        most = most_expanded(size) if opened is gzip.open else sys.maxsize
        with opened(path, "rb") as file:
            if kind == ".json":
                yield from _read_json(str(path), file)  # type: ignore[arg-type]
                return
            lines = Bounded(file, str(path), most, b"\r\n" if kind == ".csv" else b"\n")
            read = _read_csv if kind == ".csv" else _read_jsonl
            yield from read(str(path), io.BufferedReader(lines, 1 << 16))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: damaged or truncated gzip file ({error}). Nothing was loaded. Get the file again."
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def read_bytes(data: bytes, name: str) -> Iterator[RawRow]:
    """Yields the rows of bytes without a file name, such as standard input. The content shows the file format.

    Args:
        data: JSON, JSON lines, CSV or parquet, with or without gzip.
        name: Name of the input, for messages.
    """
    data = _uncompressed(data, name)
    if data[:4] == _PARQUET:
        return _read_parquet(name, io.BytesIO(data))
    start = data.removeprefix(_BYTE_ORDER_MARK).lstrip()[:1]
    if start not in (b"{", b"["):
        return _read_csv(name, io.BytesIO(data))
    try:
        json.loads(data)
    except (ValueError, RecursionError):  # several values, or a damaged one: line by line
        return _read_jsonl(name, io.BytesIO(data))
    return _read_json(name, io.BytesIO(data))


def read_json(data: bytes, name: str, expected: str) -> Any:
    """Parses bytes as JSON. Several lines of JSON give the list of their values.

    Args:
        data: JSON as UTF-8, with or without gzip.
        name: Name of the input, for messages.
        expected: What the input should be, for messages.

    Raises:
        DataError: The bytes are not UTF-8, empty, or not JSON.
    """
    try:
        text = _uncompressed(data, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start + 1} is not UTF-8. Save it as UTF-8.") from None
    if not text.strip():
        raise DataError(f"{name} is empty. Expected {expected}.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, json.JSONDecodeError) or error.msg != "Extra data":
            raise DataError(f"{name}: not JSON: {error}. Expected {expected}.") from None
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{name}:{number}: not JSON: {error}. Expected {expected}.") from None
    return values


def read_values(values: Iterable[Any]) -> Iterator[RawRow]:
    """Yields rows that are already parsed, such as those of a request."""
    for number, value in enumerate(values, 1):
        row = dict(value) if isinstance(value, Mapping) else value
        yield _json_row(number, row, row)


def table_rows(source: str, names: list[str], batches: Iterable[Any]) -> Iterator[RawRow]:
    """Yields the rows of pyarrow record batches. Nulls are left out, so that a null equals a missing field."""
    if len(set(names)) < len(names):
        raise DataError(f"{source}: two columns have the same name: {', '.join(sorted(names))}.")
    start = 0
    for batch in batches:
        columns = [_column_values(column) for column in batch.columns]
        for number, values in enumerate(zip(*columns, strict=True), start + 1):
            fields = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            broken = any(isinstance(value, UnicodeDecodeError) for value in values)
            if broken:
                yield RawRow(number, fields, None, ("broken UTF-8", "the row has bytes that are not UTF-8"))
            else:
                yield RawRow(number, fields, fields)
        start += batch.num_rows


def _uncompressed(data: bytes, name: str) -> bytes:
    if data[:2] in _UTF_16:
        raise DataError(f"{name}: the text is UTF-16. Save it as UTF-8.")
    if data[:2] != _GZIP:
        return data
    try:
        return decompressed(data, name)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{name}: damaged or truncated gzip data ({error}).") from None


class _Repeated(dict):
    """A JSON object in which a key occurs twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _Repeated(pairs)


_DECODE = json.JSONDecoder(object_pairs_hook=_object).decode


def _json_row(line: int, raw: Any, value: Any) -> RawRow:
    if type(value) is dict:
        return RawRow(line, raw, value)
    if isinstance(value, _Repeated):
        return RawRow(line, raw, None, ("malformed row", "a key occurs twice in the object"))
    return RawRow(line, raw, None, ("wrong type", f"the row must be an object, not {type(value).__name__}"))


def _read_jsonl(name: str, file: Iterable[bytes]) -> Iterator[RawRow]:
    for number, data in enumerate(file, 1):
        if number == 1:
            data = data.removeprefix(_BYTE_ORDER_MARK)
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


def _read_json(name: str, file: BinaryIO) -> Iterator[RawRow]:
    data = read_document(file, name).removeprefix(_BYTE_ORDER_MARK)
    if not data.strip():
        return
    try:
        value = _DECODE(data.decode())
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: byte {error.start + 1} is not UTF-8.") from None
    except (ValueError, RecursionError) as error:
        hint = " If each line is an object, name the file '.jsonl'." if "Extra data" in str(error) else ""
        raise DataError(f"{name}: not JSON: {error}.{hint}") from None
    if isinstance(value, dict) and value:
        value = value["pairs"] if "pairs" in value else [value]
    if not isinstance(value, list):
        raise DataError(f"{name}: must be a list of rows, not {type(value).__name__}.")
    for number, row in enumerate(value, 1):
        yield _json_row(number, row, row)


def _read_csv(name: str, file: BinaryIO) -> Iterator[RawRow]:
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        header: list[str] | None = None
        for line, raw, cells, problem in _csv_records(text, name):
            if header is None:
                cells = [cell.strip() for cell in cells]
                if problem or len(set(cells)) < len(cells):
                    raise DataError(
                        f"{name}: the header {raw.strip()!r:.80} is not a list of distinct column names."
                    )
                header = cells or None  # skip a blank first line
            elif not problem and not cells:
                continue
            elif not raw.isascii() and any("\udc80" <= c <= "\udcff" for c in raw):
                yield RawRow(line, raw, None, ("broken UTF-8", "the row has bytes that are not UTF-8"))
            elif not problem and len(cells) != len(header):
                problem = f"the row has {counted(len(cells), 'cell')}, the header {len(header)}"
                yield RawRow(line, raw, None, ("malformed row", problem))
            elif problem:
                yield RawRow(line, raw, None, ("malformed row", problem))
            else:
                yield RawRow(line, raw, dict(zip(header, map(_cell, cells), strict=True)))
    finally:
        text.detach()  # the caller closes the file


def _cell(text: str) -> Any:
    """Returns the text of a cell, or the messages that it lists as JSON or as Python (which pandas writes)."""
    if text[:2] != "[{" or text[-2:] != "}]":
        return text
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if all(isinstance(item, dict) and {"role", "content"} <= item.keys() for item in value):
            return value
    return text


def _csv_records(text: Iterator[str], name: str) -> Iterator[tuple[int, str, list[str], str]]:
    """Yields (line, source text, cells, problem or `""`) of each record."""
    taken: list[str] = []  # the lines of the current record
    size = 0

    def lines() -> Iterator[str]:
        nonlocal size
        for line in chain([first] if first else [], text):
            taken.append(line)
            size += len(line)
            check_record(size, name)
            yield line

    first, number = next(text, ""), 1
    told = _SEPARATOR_LINE.fullmatch(first)
    if told:
        first, number = next(text, ""), 2
    separator = told[1] if told else "," if "," in first else max(",;\t", key=first.count)
    records = csv.reader(lines(), strict=True, delimiter=separator)
    while True:
        taken.clear()
        size = 0
        with _LONG_CELLS:
            limit = csv.field_size_limit(sys.maxsize)
            try:
                cells, problem = next(records), ""
            except StopIteration:
                return
            except csv.Error as error:
                cells, problem = [], f"not CSV: {error}; the record has {counted(len(taken), 'line')}"
            finally:
                csv.field_size_limit(limit)
        yield number, "".join(taken), cells, problem
        number += len(taken)


def _read_parquet(name: str, file: BinaryIO) -> Iterator[RawRow]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            f"{name}: reading parquet needs pyarrow. Install it, or convert the file to jsonl."
        ) from None
    try:
        parquet = pyarrow.parquet.ParquetFile(file)
        groups = [parquet.metadata.row_group(i) for i in range(parquet.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > most_expanded(file.seek(0, io.SEEK_END)):
            raise expands_too_much(name)
        yield from table_rows(name, parquet.schema_arrow.names, parquet.iter_batches(512))
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{name}: not a readable parquet file: {error}") from None


def _column_values(column: Any) -> list[Any]:
    """Python values of an arrow column. A value that cannot be converted is replaced by its error."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, ImportError):  # broken UTF-8, dates out of range, ...
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, ImportError) as error:
        return error
