"""Runs that several tests compare with, and one cache of compiled programs for all tests and their processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from tiny_language import run_language
from tiny_run import run_tiny

CACHE = {"JAX_COMPILATION_CACHE_DIR": "", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


@pytest.fixture(scope="session", autouse=True)
def compiled_programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Turns the persistent compilation cache on; gives the environment that does so in another process."""
    environment = CACHE | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    before = {name.lower(): getattr(jax.config, name.lower()) for name in environment}
    jax.config.update("jax_compilation_cache_dir", environment["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield os.environ | environment
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny config from start to end. Read only."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    run_tiny(run)
    return run


@pytest.fixture(scope="session")
def undisturbed_language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the tiny language model."""
    run = tmp_path_factory.mktemp("undisturbed") / "language"
    run_language(run)
    return run
