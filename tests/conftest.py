"""Fixtures that several test files share."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Child processes import JAX many times. Without bytecode files each would compile all of its sources.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    sys.pycache_prefix = str(Path(__file__).resolve().parents[1] / ".cache" / "bytecode")
    sys.dont_write_bytecode = False
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix

# Tiny models spend more time in the compiler than anywhere else. Before JAX is imported; child processes inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# A flag that jaxlib does not know ends the process, so only where it is known.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    quick = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    os.environ.setdefault("XLA_FLAGS", quick)

CACHE = {"JAX_COMPILATION_CACHE_DIR": "", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Turns the persistent compilation cache on; gives the environment that does so in another process."""
    name = "JAX_COMPILATION_CACHE_DIR"
    environment = CACHE | {name: os.environ.get(name) or str(tmp_path_factory.mktemp("compiled"))}
    import jax

    before = {name.lower(): getattr(jax.config, name.lower()) for name in environment}
    jax.config.update("jax_compilation_cache_dir", environment["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield os.environ | environment
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with development data, FSPO_SHARED or `shared` beside the repository; skips without it."""
    root = Path(os.environ.get("FSPO_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (root / "data" / "real").is_dir():
        pytest.skip(f"no development data in {root}: set FSPO_SHARED to the folder that holds data/real")
    return root


@pytest.fixture
def small_disk() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """`with small_disk(n)`: no file of this process can grow beyond n bytes, as on a full disk.

    Not for a whole test: pytest itself writes between the phases of a test, perhaps into a file.
    """

    @contextlib.contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
