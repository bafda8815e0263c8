"""The one cache on disk of what is computed from a text. Several processes may use it at the same time.

A segment is an immutable file with a header, the SHA-256 keys of its texts and their rows, which readers map into
memory. A writer writes a temporary file, syncs and renames it: readers never see half a file, and two writers never
write the same file. When there are many segments, one process merges them under a lock. Readers with open old files can
still read them.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fspo_jax.errors import EncoderError

HEADER = struct.Struct("<8sIIQ")
MAGIC = b"FSPOROW1"
KEY_BYTES = 32
MAX_SEGMENTS = 64
HOT_ROWS = 32_768
STALE_SECONDS = 3600.0


class TextCache:
    """A function from texts to rows of numbers that computes the row of each text once, also across processes.

    Threads and processes may share a directory.

    Args:
        directory: The directory of the cache, with one folder per fingerprint.
        fingerprint: Name of the folder. It must change whenever `compute` gives other rows for an equal text.
        width: Number of values of a row.
        compute: From N distinct texts to their rows, `[N, width]`.

    Raises:
        EncoderError: The directory cannot be created or read.

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
        compute: Callable[[list[str]], np.ndarray],
    ):
        self.directory = Path(directory) / fingerprint
        self._width, self._compute = width, compute
        self._lock = threading.RLock()
        self._counter = itertools.count()
        self._segments: dict[str, np.ndarray] = {}
        self._places: dict[bytes, tuple[np.ndarray, int]] = {}
        self._slots: dict[str, int] = {}
        self._hot = np.empty((256, width), np.float32)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._remove_stale()
        except OSError as error:
            raise self._unusable(error) from error
        with self._lock:
            self._read_new_segments()

    def __len__(self) -> int:
        """Number of texts whose rows this process knows."""
        return len(self._places)

    def __contains__(self, text: str) -> bool:
        return _key(text) in self._places

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """Returns rows `float32 [N, width]` of texts. Those that are not stored yet are computed in one call.

        Args:
            texts: N texts, which may repeat.

        Raises:
            EncoderError: The computed rows are not finite or have another shape, or the rows cannot be
                written, for example because the disk is full. Nothing is stored then.
        """
        with self._lock:
            slots = [self._slots.get(text, -1) for text in texts]
            if -1 not in slots:
                return self._hot[slots]
            cold = {text: _key(text) for text, slot in zip(texts, slots, strict=True) if slot < 0}
            if any(key not in self._places for key in cold.values()):
                self._read_new_segments()
            missing = [text for text, key in cold.items() if key not in self._places]
        if missing:
            self._store(missing, self._checked(self._compute(missing), len(missing)))
        with self._lock:
            if len(cold) <= HOT_ROWS // 2:
                self._warm({text: key for text, key in cold.items() if text not in self._slots})
                if all(text in self._slots for text in texts):
                    return self._hot[[self._slots[text] for text in texts]]
            result = np.empty((len(texts), self._width), np.float32)
            for i, text in enumerate(texts):
                rows, place = self._places[_key(text)]
                result[i] = rows[place]
            return result

    def _warm(self, cold: dict[str, bytes]) -> None:
        """Copies rows into the block that serves repeated look-ups. A full block is emptied first."""
        if len(self._slots) + len(cold) > HOT_ROWS:
            self._slots.clear()
        needed = len(self._slots) + len(cold)
        if needed > len(self._hot):
            grown = np.empty((min(max(needed, 2 * len(self._hot)), HOT_ROWS), self._width), np.float32)
            grown[: len(self._hot)] = self._hot
            self._hot = grown
        for text, key in cold.items():
            rows, place = self._places[key]
            slot = len(self._slots)
            self._hot[slot] = rows[place]
            self._slots[text] = slot

    def _checked(self, rows: np.ndarray, count: int) -> np.ndarray:
        rows = np.ascontiguousarray(rows, np.float32)
        if rows.shape != (count, self._width) or not np.isfinite(rows).all():
            raise EncoderError(
                f"rows of shape {rows.shape} were computed, expected finite rows of shape {(count, self._width)}. "
                "Nothing was stored."
            )
        return rows

    def _store(self, texts: list[str], rows: np.ndarray) -> None:
        keys = np.frombuffer(b"".join(map(_key, texts)), np.uint8).reshape(-1, KEY_BYTES)
        name = self._write_segment(keys, rows)
        with self._lock:
            self._open_segment(name)
            crowded = len(self._segments) > MAX_SEGMENTS
        if crowded:
            self._merge()

    def _write_segment(self, keys: np.ndarray, rows: np.ndarray) -> str:
        payload = keys.tobytes() + rows.tobytes()
        header = HEADER.pack(MAGIC, len(keys), self._width, zlib.crc32(payload))
        name = hashlib.sha256(header + payload).hexdigest()[:32] + ".rows"
        temporary = self.directory / f".{os.getpid()}-{threading.get_ident()}-{next(self._counter)}.tmp"
        try:
            with open(temporary, "xb") as file:
                file.write(header)
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.directory / name)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise self._unusable(error) from error
        return name

    def _read_new_segments(self) -> None:
        for name in sorted(os.listdir(self.directory)):
            if name.endswith(".rows") and name not in self._segments:
                self._open_segment(name)

    def _open_segment(self, name: str) -> None:
        path = self.directory / name
        try:
            data = np.memmap(path, np.uint8, "r")
        except FileNotFoundError:  # merged by another process; its rows are in a newer segment
            return
        except (OSError, ValueError) as error:
            self._segments[name] = np.empty(0)
            warnings.warn(f"{path} is ignored because it cannot be read: {error}", stacklevel=2)
            return
        self._segments[name] = data
        magic, count, dimension, checksum = HEADER.unpack(
            data[: HEADER.size].tobytes().ljust(HEADER.size, b"\0")
        )
        body = data[HEADER.size :]
        size = count * (KEY_BYTES + 4 * dimension)
        if (
            magic != MAGIC
            or dimension != self._width
            or len(body) != size
            or zlib.crc32(body.data) != checksum
        ):
            warnings.warn(f"{path} is damaged and ignored. Its texts are encoded again.", stacklevel=2)
            return
        keys = body[: count * KEY_BYTES].tobytes()
        rows = body[count * KEY_BYTES :].view(np.float32).reshape(count, dimension)
        for i in range(count):
            self._places[keys[i * KEY_BYTES : (i + 1) * KEY_BYTES]] = (rows, i)

    def _merge(self) -> None:
        """Merges all readable segments into one, unless another process is doing it."""
        try:
            import fcntl
        except ImportError:  # no such locks on this system: do not merge
            return
        with open(self.directory / ".merge.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            with self._lock:
                self._read_new_segments()
                old = [name for name, data in self._segments.items() if data.size]
                places = dict(self._places)
            keys = np.frombuffer(b"".join(places), np.uint8).reshape(-1, KEY_BYTES)
            rows = np.stack([rows[i] for rows, i in places.values()])
            merged = self._write_segment(keys, rows)
            with self._lock:  # keep rows that other threads stored in the meantime
                since = {key: place for key, place in self._places.items() if key not in places}
                self._places.clear()
                self._segments.clear()
                self._open_segment(merged)
                self._places |= since
            for name in old:
                if name != merged:
                    (self.directory / name).unlink(missing_ok=True)
            with self._lock:
                self._read_new_segments()

    def _remove_stale(self) -> None:
        """Removes temporary files of writers that were killed long ago."""
        for path in self.directory.glob(".*.tmp"):
            try:
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                pass

    def _unusable(self, error: OSError) -> EncoderError:
        return EncoderError(
            f"the feature cache {self.directory} cannot be used: {error}. Free some disk space, or set encoder.cache "
            "in the config or the variable FSPO_CACHE to a directory that can be written."
        )


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
