"""Keeps compiled programs between commands, because compiling takes most of the time of a short command."""

from __future__ import annotations

import os
import sys
import warnings

from fspo_jax.config.cache import cache_directory


def keep_compiled_programs() -> None:
    """Makes JAX keep compiled programs in the cache directory, unless the user chose another one.

    Commands with few and small programs call this. It does nothing if JAX is already imported, because the library does
    not change the JAX settings of the program that uses it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the features' cache warns too
        directory = cache_directory()
    if "jax" not in sys.modules and directory:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(directory / "programs"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
