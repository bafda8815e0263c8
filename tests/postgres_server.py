"""A PostgreSQL server for tests, in a directory of its own, reached by a Unix socket."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """Starts a server and gives the URL of an empty database; skips the test where there is no PostgreSQL."""
    binaries = _binaries()
    if binaries is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("PostgreSQL (Debian: apt install postgresql) or the package psycopg is not installed")
    with tempfile.TemporaryDirectory(prefix="pg") as directory:  # short: it holds a socket
        owner = None
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            owner = next((one for one in ("postgres", "nobody") if _known(one)), None)
            shutil.chown(directory, owner)
        data = Path(directory, "data")

        def run(*command: str) -> None:
            subprocess.run(command, user=owner, check=True, cwd=directory, stdout=subprocess.DEVNULL)

        run(str(binaries / "initdb"), "-D", str(data), "-U", "fspo", "-A", "trust", "-N", "--locale=C.UTF-8")
        control = (str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", f"{directory}/log")
        run(*control, "-o", f"-k {directory} -c listen_addresses='' -c fsync=off", "start")
        try:
            yield f"postgresql+psycopg://fspo@/postgres?host={directory}"
        finally:
            run(*control, "-m", "immediate", "stop")


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return places[-1].parent if places else None


def _known(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False
