"""What is made once and kept in the cache: directories of models, and digests of files.

Many processes may do it at the same time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from fspo_jax.errors import CheckpointError


def kept_directory(place: Path, make: Callable[[Path], None]) -> Path:
    """Returns the directory `place`, which `make` fills if it does not exist. A half-filled directory is never seen.

    Two processes may both make it; the one that ends first wins, and both have the same content.

    Args:
        place: Directory in the cache. Its name has to tell what it holds, by a digest.
        make: Fills an empty directory.

    Raises:
        CheckpointError: The cache cannot be written.
    """
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        try:
            make(fresh)
            fresh.chmod(0o755)
            try:
                fresh.rename(place)
            except OSError:
                if not place.is_dir():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise CheckpointError(
            f"{place}: the model cannot be unpacked into the cache: {error}. Free some disk space, or set FSPO_CACHE "
            "to a directory that can be written."
        ) from error
    return place


def file_digest(path: Path, cache: Path) -> str:
    """SHA-256 of a file. It is kept beside the file's size and time, so the next call reads only these."""
    status = path.stat()
    stamp = f"{path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}\n{status.st_ino}\n"
    place = cache / "digests" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    try:
        kept = place.read_text(encoding="utf-8")
    except (OSError, ValueError):
        kept = ""
    if kept.startswith(stamp):
        return kept.removeprefix(stamp)
    digest = digest_of(path)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        fresh.write_text(stamp + digest, encoding="utf-8")
        fresh.replace(place)
    except OSError:
        pass  # without a cache, the file is read again the next time
    return digest


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
