"""Full float32 precision of matrix products on all devices."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Returns the function with full precision in its matrix products and in their gradients.

    By default a GPU rounds the operands of float32 products to 10 bits (TF32) and a TPU to 7 bits (bfloat16). That is
    too coarse for the posterior, whose variance is a difference of nearly equal numbers, and features would depend on
    the device. On a CPU nothing changes.
    """

    @functools.wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.default_matmul_precision("float32"):
            return function(*args, **kwargs)

    return exact
