"""Compiled programs kept between commands: most of the time of a short command is the compiler's."""

from __future__ import annotations

import os
import sys

from fspo_jax.config.cache import cache_directory


def keep_compiled_programs() -> None:
    """Lets JAX keep compiled programs in the cache directory, unless the user set another place for them.

    Commands call this whose programs are few and small. It does nothing where JAX is already imported: the library
    leaves JAX's settings to the program that uses it.
    """
    if "jax" not in sys.modules:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_directory() / "programs"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
