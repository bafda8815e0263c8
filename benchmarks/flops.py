"""Floating-point operations of a function's matrix products, loops included (XLA's own count takes a loop once)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax


def matrix_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of one call, counted in the traced program; Pallas kernels count as nothing."""
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        if equation.primitive.name != "pallas_call":
            total += times * sum(map(_of_jaxpr, _inner(equation.params)))
    return total


def _inner(params: dict[str, Any]) -> list[Any]:
    """Programs inside an equation: bodies of loops, calls, recomputed parts; of branches the costliest counts."""
    found = []
    for value in params.values():
        if isinstance(value, (list, tuple)) and value and all(hasattr(v, "jaxpr") for v in value):
            found.append(max((v.jaxpr for v in value), key=_of_jaxpr))
        elif hasattr(value, "eqns"):
            found.append(value)
        elif hasattr(value, "jaxpr"):
            found.append(value.jaxpr)
    return found
