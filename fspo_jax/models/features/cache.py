"""The one cache on disk of what is computed from a text, or from a prompt and a response. Several processes may use it
at the same time.

A segment is an immutable file: rows, then the keys of their texts, a checksum of each row, and a footer. A process
keeps the keys and the checksums in memory. It reads rows when they are needed and checks each of them, so a file that
is changed, cut or deleted meanwhile costs time only: its texts are computed again. A key is a hash of the text with
the secret of the cache's directory, so nobody can look up texts without it.

A writer writes a temporary file, syncs and renames it: readers never see half a file, and two writers never write the
same file. When there are many small segments, one process merges them under a lock.

A directory has a largest size (`cache_bytes`). After a segment is written, those that were written or read longest
ago are deleted, of any fingerprint, until the rest fits.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from fspo_jax.config.cache import cache_bytes
from fspo_jax.errors import EncoderError
from fspo_jax.private_files import private_directory, private_opener
from fspo_jax.types import Prompt

FOOTER = struct.Struct("<8sQII")
MAGIC = b"FSPOROW2"
SUFFIX = ".segment"
SECRET = "secret"
KEY_BYTES = 32
MAX_SEGMENTS = 64
LARGE_SEGMENT = 1 << 26
"""Segments with rows of at least so many bytes are not merged again."""
STALE_SECONDS = 3600.0


Text = TypeVar("Text", str, tuple[Prompt, str], tuple[Prompt, str | None, int])
"""A text; an item: a prompt with a response; or a numbered part of an item, or of a prompt alone."""


@dataclass(eq=False)
class Segment:
    """What a process knows of a segment: its file, the checksums and bytes of its rows, and whether it is damaged."""

    path: Path
    checksums: np.ndarray
    nbytes: int = 0
    damaged: bool = False


class TextCache(Generic[Text]):
    """A function from texts to rows of numbers that computes the row of each text once, also across processes.

    A text may also be an item, (prompt, response): a cache holds texts or items, not both. Threads and processes may
    share a directory.

    Args:
        directory: The directory of the cache, with a secret and one folder per fingerprint.
        fingerprint: Name of the folder. It must change whenever `compute` gives other rows for an equal text.
        width: Number of values of a row.
        compute: From N distinct texts to their rows, `[N, width]`.
        dtype: Type of the values on disk and of the rows.

    Raises:
        EncoderError: The directory cannot be created, read or written.
        ConfigError: See `cache_bytes`.

    Example:
        >>> import tempfile
        >>> lengths = TextCache(tempfile.mkdtemp(), "length-1", 1, lambda texts: np.array([[len(t)] for t in texts]))
        >>> lengths.rows(["a", "bb", "a"]).ravel().tolist()
        [1.0, 2.0, 1.0]
    """

    def __init__(
        self,
        directory: str | Path,
        fingerprint: str,
        width: int,
        compute: Callable[[list[Text]], np.ndarray],
        dtype: type[np.floating] = np.float32,
    ):
        self.directory = Path(directory) / fingerprint
        self._width, self._compute, self._dtype = width, compute, dtype
        self._limit = cache_bytes()
        self._lock = threading.RLock()
        self._counter = itertools.count()
        self._segments: dict[str, Segment] = {}
        self._moved = False  # whether another process merged segments that are known here
        self._places: dict[bytes, tuple[Segment, int]] = {}
        try:
            private_directory(self.directory)
            self._secret = self._read_secret(Path(directory) / SECRET)
            self._remove_stale()
        except (OSError, ValueError) as error:  # ValueError: no file system has such a name
            raise self._unusable(error) from error
        self._read_new_segments()

    def rows(self, texts: Sequence[Text]) -> np.ndarray:
        """Returns rows `[N, width]` of texts. Those that are not stored yet are computed in one call.

        Args:
            texts: N texts, which may repeat.

        Raises:
            EncoderError: The computed rows are not finite or have another shape, or the rows cannot be
                written, for example because the disk is full. Nothing is stored then.
        """
        keys = {text: self._key(text) for text in texts}
        with self._lock:
            found = self._stored(keys.values())
            if len(found) < len(keys):
                self._read_new_segments()
                found |= self._stored(key for key in keys.values() if key not in found)
        if missing := [text for text, key in keys.items() if key not in found]:
            computed = self._checked(self._compute(missing), len(missing))
            new = [keys[text] for text in missing]
            self._store(new, computed)
            found |= zip(new, computed, strict=True)
        rows = np.empty((len(texts), self._width), self._dtype)
        for row, text in zip(rows, texts, strict=True):
            row[:] = found[keys[text]]
        return rows

    def _key(self, text: Text) -> bytes:
        written = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        return hashlib.blake2b(written.encode(), key=self._secret, digest_size=KEY_BYTES).digest()

    def _checked(self, rows: np.ndarray, count: int) -> np.ndarray:
        rows = np.ascontiguousarray(rows, self._dtype)
        if rows.shape != (count, self._width) or not np.isfinite(rows).all():
            raise EncoderError(
                f"rows of shape {rows.shape} were computed, expected finite rows of shape {(count, self._width)}. "
                "Nothing was stored."
            )
        return rows

    def _stored(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """Reads the rows of those keys that are stored. Segments that turn out to be damaged are not used again."""
        wanted: dict[Segment, list[tuple[int, bytes]]] = {}
        for key in keys:
            segment, place = self._places.get(key, (None, 0))
            if segment and not segment.damaged:
                wanted.setdefault(segment, []).append((place, key))
        found: dict[bytes, np.ndarray] = {}
        for segment, places in wanted.items():
            places.sort()
            found |= self._read_rows(segment, places)
        return found

    def _read_rows(self, segment: Segment, places: Sequence[tuple[int, bytes]]) -> dict[bytes, np.ndarray]:
        """Reads rows of a segment by key; none if one of them is not as it was written."""
        rows = np.empty((len(places), self._width), self._dtype)
        try:
            with open(segment.path, "rb") as file:
                with contextlib.suppress(OSError):  # a directory that can only be read
                    os.utime(segment.path)
                for row, (place, key) in zip(rows, places, strict=True):
                    file.seek(place * row.nbytes)
                    size = file.readinto(row.data)
                    if size != row.nbytes or _checksum(key, row) != segment.checksums[place]:
                        raise ValueError("a row is not as it was written")
            if not np.isfinite(rows).all():
                raise ValueError("a row is not finite")
        except FileNotFoundError:
            self._moved = True
            return {}
        except (OSError, ValueError) as error:
            self._warn_damaged(segment, error)
            return {}
        return {key: row for (_, key), row in zip(places, rows, strict=True)}

    def _store(self, keys: list[bytes], rows: np.ndarray) -> None:
        name = self._write_segment([(keys, rows)])
        with self._lock:
            self._open_segment(name)
            crowded = sum(map(_is_small, self._segments.values())) > MAX_SEGMENTS
        if crowded:
            self._merge()
        if self._limit is not None:
            self._make_room(self._limit)

    def _make_room(self, limit: int) -> None:
        """Deletes segments of the whole directory, the one used longest ago first, until `limit` bytes are left."""
        found = []
        for path in self.directory.parent.glob(f"*/*{SUFFIX}"):
            with contextlib.suppress(OSError):  # merged or deleted by another process
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, path))
        size = sum(size for _, size, _ in found)
        for _, bytes_of_segment, path in sorted(found):
            if size <= limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            size -= bytes_of_segment

    def _write_segment(self, parts: Iterable[tuple[Sequence[bytes], np.ndarray]]) -> str:
        """Writes keys and rows, part by part; returns the name of the file."""
        keys: list[bytes] = []
        checksums: list[int] = []
        temporary = self.directory / f".{os.getpid()}-{threading.get_ident()}-{next(self._counter)}.tmp"
        try:
            private_directory(self.directory)  # it may have been deleted meanwhile
            with open(temporary, "wb", opener=private_opener) as file:
                for of_part, rows in parts:
                    file.write(rows.data)
                    keys += of_part
                    checksums += map(_checksum, of_part, rows)
                index = b"".join(keys) + np.array(checksums, np.uint32).tobytes()
                file.write(index + FOOTER.pack(MAGIC, len(keys), self._width, zlib.crc32(index)))
                file.flush()
                os.fsync(file.fileno())
            name = hashlib.sha256(index).hexdigest()[:32] + SUFFIX
            os.replace(temporary, self.directory / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise self._unusable(error) from error
        return name

    def _read_new_segments(self) -> None:
        try:
            names = sorted(os.listdir(self.directory))
        except OSError:  # deleted meanwhile: nothing is stored
            names = []
        with self._lock:
            if self._moved:  # any known segment may be gone, and its rows may be in any other
                self._segments = {name: one for name, one in self._segments.items() if one.damaged}
                self._places.clear()
                self._moved = False
            for name in names:
                if name.endswith(SUFFIX) and name not in self._segments:
                    self._open_segment(name)

    def _open_segment(self, name: str) -> None:
        segment = Segment(self.directory / name, np.empty(0, np.uint32))
        try:
            with open(segment.path, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - FOOTER.size, 0))
                magic, count, width, checksum = FOOTER.unpack(file.read().ljust(FOOTER.size, b"\0"))
                index_bytes = count * (KEY_BYTES + 4)
                start = size - FOOTER.size - index_bytes
                if (
                    magic != MAGIC
                    or width != self._width
                    or start != count * width * np.dtype(self._dtype).itemsize
                ):
                    raise ValueError("it has another size or format")
                file.seek(start)
                index = file.read(index_bytes)
                if zlib.crc32(index) != checksum:
                    raise ValueError("its checksum is wrong")
        except FileNotFoundError:  # merged by another process
            self._moved = True
            return
        except (OSError, ValueError) as error:
            self._segments[name] = segment
            self._warn_damaged(segment, error)
            return
        segment.checksums = np.frombuffer(index, np.uint32, offset=count * KEY_BYTES)
        segment.nbytes = start
        self._segments[name] = segment
        for i in range(count):
            self._places[index[i * KEY_BYTES : (i + 1) * KEY_BYTES]] = (segment, i)

    def _merge(self) -> None:
        """Merges the small segments into one, unless another process is doing it."""
        try:
            import fcntl
        except ImportError:  # no such locks on this system: do not merge
            return
        try:
            lock = open(self.directory / ".merge.lock", "w", opener=private_opener)
        except OSError:
            return
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            self._moved = True
            self._read_new_segments()  # all of them: none is merged elsewhere from here on
            with self._lock:
                small = {name: one for name, one in self._segments.items() if _is_small(one)}
                places: dict[Segment, list[tuple[int, bytes]]] = {segment: [] for segment in small.values()}
                for key, (segment, place) in self._places.items():
                    if segment in places and not segment.damaged:
                        places[segment].append((place, key))
            found = (self._read_rows(segment, sorted(of_segment)) for segment, of_segment in places.items())
            merged = self._write_segment((list(rows), np.stack([*rows.values()])) for rows in found if rows)
            with self._lock:
                self._open_segment(merged)
                for name in small.keys() - {merged}:
                    del self._segments[name]
                    with contextlib.suppress(OSError):
                        (self.directory / name).unlink(missing_ok=True)

    def _read_secret(self, path: Path) -> bytes:
        """Reads the secret of the directory, which the first process writes."""
        if not path.is_file():
            fresh = path.with_name(f".{SECRET}-{os.getpid()}-{threading.get_ident()}.tmp")
            with open(fresh, "wb", opener=private_opener) as file:
                file.write(os.urandom(KEY_BYTES))
            try:
                os.link(fresh, path)  # unlike a rename, never replaces the secret of another process
            except FileExistsError:
                pass
            except OSError:  # no such links on this file system
                fresh.replace(path)
            finally:
                fresh.unlink(missing_ok=True)
        secret = path.read_bytes()
        if len(secret) != KEY_BYTES:
            raise EncoderError(
                f"the feature cache {path.parent} cannot be used: its file {SECRET} has {len(secret)} bytes, not "
                f"{KEY_BYTES}. Delete the directory; the features are computed again."
            )
        return secret

    def _remove_stale(self) -> None:
        """Removes temporary files of writers that were killed long ago."""
        for path in self.directory.glob(".*.tmp"):
            try:
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                pass

    def _warn_damaged(self, segment: Segment, error: Exception) -> None:
        segment.damaged = True
        warnings.warn(
            f"{segment.path} is damaged and ignored: {error}. Its texts are computed again.", stacklevel=2
        )

    def _unusable(self, error: OSError | ValueError) -> EncoderError:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "Free some disk space, or set" if full else "Set"
        return EncoderError(
            f"the feature cache {self.directory} cannot be used: {error}. {advice} "
            "encoder.cache in the config or the variable FSPO_CACHE to a directory that can be written."
        )


def _is_small(segment: Segment) -> bool:
    return segment.nbytes < LARGE_SEGMENT


def _checksum(key: bytes, row: np.ndarray) -> int:
    return zlib.crc32(row.data, zlib.crc32(key))
