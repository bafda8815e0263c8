"""Limits of what is read, so that a damaged or hostile file costs little memory before it is refused."""

from __future__ import annotations

import gzip
import io
from typing import Any, BinaryIO

from fspo_jax.errors import DataError

LINE_BYTES = 32 * 2**20
"""Longest line of a jsonl file and longest record of a csv file, 32 MiB."""

DOCUMENT_BYTES = 128 * 2**20
"""Largest JSON document, and most that is read from standard input, a pipe or bytes: 128 MiB, decompressed."""

EXPANSION = 200
"""A compressed file may be decompressed to so many times its size, and in any case to `DOCUMENT_BYTES`."""

MALFORMED_ROWS = 100_000
"""Most malformed rows that one load sets aside."""

RATINGS_OF_ONE = 1000
"""Most responses to one prompt that one person may have rated. Any two of them may make a pair."""


class Bounded(io.RawIOBase):
    """Passes a file on, and refuses lines and streams that are too long.

    Args:
        file: The file, decompressed as it is read.
        name: Its name, for messages.
        most: Largest number of bytes.
        ends: Bytes that end a line.
    """

    def __init__(self, file: Any, name: str, most: int, ends: bytes):
        self._file, self._name, self._left, self._line = file, name, most, 0
        self._ends = [bytes([end]) for end in ends]

    def readable(self) -> bool:
        """Whether it can be read, which it can."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer. Raises `DataError` beyond a limit."""
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise expands_too_much(self._name)
        last = max(map(data.rfind, self._ends))
        self._line = self._line + len(data) if last < 0 else len(data) - 1 - last
        check_record(self._line, self._name)
        buffer[: len(data)] = data
        return len(data)


def check_record(size: int, name: str) -> None:
    """Raises `DataError` if a line or record is too long."""
    if size > LINE_BYTES:
        raise DataError(
            f"{name}: a line has more than {LINE_BYTES >> 20} MiB, so this is no file of rows, or a quote is missing."
        )


def most_expanded(size: int) -> int:
    """Largest number of bytes that a compressed file of `size` bytes may be decompressed to."""
    return max(EXPANSION * size, DOCUMENT_BYTES)


def expands_too_much(name: str) -> DataError:
    """The error of a file that decompresses to more than `most_expanded` bytes."""
    return DataError(
        f"{name}: decompresses to more than {EXPANSION} times its size, so it is not a file of rows."
    )


def read_document(file: BinaryIO, name: str) -> bytes:
    """Returns everything in a file; raises `DataError` if that is more than `DOCUMENT_BYTES`."""
    data = file.read(DOCUMENT_BYTES + 1)
    if len(data) > DOCUMENT_BYTES:
        raise DataError(
            f"{name}: more than {DOCUMENT_BYTES >> 20} MiB cannot be read at once. Write the rows to a .jsonl file, "
            "one on each line; such a file may have any size."
        )
    return data


def decompressed(data: bytes, name: str) -> bytes:
    """Returns decompressed gzip data; raises `DataError` as `read_document` does."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return read_document(file, name)  # type: ignore[arg-type]
