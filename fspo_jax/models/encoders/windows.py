"""Batches of token windows. They have few shapes, because a program is compiled for each shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

LENGTHS = (16, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024, 1536, 2048)
"""Length buckets in tokens."""

BATCH_TOKENS = 2048
"""Number of tokens of a full batch. Larger batches do not fit into a CPU's cache."""

LONG_TOKENS = 4096
"""Largest number of tokens of a batch of eight or fewer long texts."""

SMALL_BATCHES = (1, 8)
"""Numbers of rows of batches that are not full."""

WARM_TOKENS = 512
"""Number of tokens of the largest batch in `small_shapes`, which takes about 0.1 s on two cores."""


def token_batches(
    windows: Sequence[Sequence[int]], longest: int
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Divides windows into batches, longest first.

    Args:
        windows: Token ids of each window, at most `longest`.
        longest: Size of the largest bucket.

    Yields:
        Numbers of the windows, ids `int32 [B, T]` and lengths `int32 [B]`. A batch may have more rows than numbers; the
        rest is padding.
    """
    order = sorted(range(len(windows)), key=lambda i: -len(windows[i]))
    while order:
        length = _length_bucket(len(windows[order[0]]), longest)
        full = max(BATCH_TOKENS // length, min(8, LONG_TOKENS // length))
        taken, order = order[:full], order[full:]
        rows = next(size for size in (*SMALL_BATCHES, full) if len(taken) <= size <= full)
        ids = np.zeros((rows, length), np.int32)
        lengths = np.ones(rows, np.int32)
        for row, i in enumerate(taken):
            ids[row, : len(windows[i])] = windows[i]
            lengths[row] = len(windows[i])
        yield taken, ids, lengths


def small_shapes(longest: int) -> list[tuple[int, int]]:
    """Returns rows and tokens of the small batches of `token_batches`, for windows of at most `longest` tokens."""
    lengths = sorted({_length_bucket(size, longest) for size in LENGTHS})
    return [(rows, length) for length in lengths for rows in SMALL_BATCHES if rows * length <= WARM_TOKENS]


def _length_bucket(length: int, longest: int) -> int:
    return next((size for size in LENGTHS if length <= size <= longest), longest)
