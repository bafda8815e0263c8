"""Rows of tokens with their places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fspo_jax.types import TokenLayout


def token_rows(
    tokens: Sequence[np.ndarray], start: int, *, width: int, group: int, branch: int
) -> tuple[np.ndarray, TokenLayout]:
    """Returns rows of tokens with positions from `start` on, padded to `width`."""
    padded, position, episode, groups, branches = (np.zeros((len(tokens), width), np.int32) for _ in range(5))
    for r, row in enumerate(tokens):
        span = slice(0, len(row))
        padded[r, span], position[r, span] = row, start + np.arange(len(row))
        episode[r, span], groups[r, span], branches[r, span] = 1, group, branch
    return padded, TokenLayout(position, episode, groups, branches)
