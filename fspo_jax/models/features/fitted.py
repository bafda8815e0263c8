"""Scales of columns, and the few directions that stand for a wide block, fitted on texts before a scorer is trained.

Only differences between responses to one prompt matter to a reward, so columns are scaled by how much such responses
differ, and nothing is centred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fspo_jax.config.features import FeatureBlockConfig, WideConfig, fits_features
from fspo_jax.types import Prompt

LEAST_SHARE = 0.2
"""No column is scaled up by more than the inverse of this, relative to the median column of its block, so that what
hardly varies among the texts of training cannot dominate elsewhere."""

MOST_DEVIATIONS = 20_000
"""Number of responses that the directions of a block are fitted on."""

Fitted = Mapping[str, np.ndarray]
"""For each block its scales `float32 [W]`, or its directions with their scales, `float32 [W, N]`."""


def fit_columns(
    rows: np.ndarray,
    prompts: Sequence[Prompt],
    blocks: Mapping[str, int],
    features: Sequence[FeatureBlockConfig],
) -> dict[str, np.ndarray]:
    """Fits scales and directions.

    Args:
        rows: `float32 [N, F]`, features of N distinct items of meta-training.
        prompts: The prompt of each.
        blocks: Width of each block by name, in order.
        features: The blocks in the config, which say what is fitted for each.

    Returns:
        `Fitted`, of the blocks that change.
    """
    places: dict[Prompt, int] = {}
    owners = np.array([places.setdefault(prompt, len(places)) for prompt in prompts])
    counts = np.bincount(owners)
    several = counts[owners] > 1
    if not several.any():  # no prompt has two responses: compare all with all
        owners, counts, several = 0 * owners, np.array([len(owners)]), np.full(len(owners), len(owners) > 1)
    weights = np.sqrt(counts / np.maximum(counts - 1, 1))[owners, None]
    wanted = {block.name: block for block in features if isinstance(block, WideConfig)}
    found: dict[str, np.ndarray] = {}
    start = 0
    for name, width in blocks.items():
        block = rows[:, start : start + width]
        start += width
        if name not in wanted or not fits_features([wanted[name]]):
            continue
        means = np.zeros((len(counts), width))
        np.add.at(means, owners, block)
        means /= counts[:, None]
        deviations = ((block - means[owners]) * weights)[several]
        scales = _scales(deviations) if wanted[name].standardize else np.ones(width)
        count = min(wanted[name].directions, width)
        found[name] = _directions(deviations * scales, count) * scales[:, None] if count else scales
    return {name: array.astype(np.float32) for name, array in found.items()}


def _scales(deviations: np.ndarray) -> np.ndarray:
    spread = np.sqrt(np.square(deviations).sum(0) / max(len(deviations), 1))
    typical = np.median(spread[spread > 0]) if (spread > 0).any() else 1.0
    return 1.0 / np.maximum(spread, LEAST_SHARE * typical)


def _directions(deviations: np.ndarray, count: int) -> np.ndarray:
    """The first principal directions `[W, count]`, scaled so that a column has the mean square of one before."""
    some = deviations[:: -(-len(deviations) // MOST_DEVIATIONS) or 1]
    spread, vectors = np.linalg.eigh(some.T @ some)
    spread, vectors = spread[::-1][:count], vectors[:, ::-1][:, :count]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(count)])
    before, after = np.square(some).sum() / some.shape[1], spread.sum() / count
    return vectors * np.sqrt(before / after) if after > 0 else vectors


def changed(rows: Any, fitted: np.ndarray | None) -> Any:
    """The columns of a block after what was fitted for it, in numpy or under `jax.jit`.

    Args:
        rows: `float32 [N, W]`.
        fitted: Its entry in `Fitted`, or None.

    Returns:
        `float32 [N, W]`, or `[N, number of directions]`.
    """
    if fitted is None:
        return rows
    return rows @ fitted if fitted.ndim == 2 else rows * fitted


def changed_blocks(blocks: Mapping[str, int], fitted: Fitted) -> dict[str, int]:
    """Width of each block after what was fitted."""
    return {name: fitted[name].shape[-1] if name in fitted else width for name, width in blocks.items()}


def changed_rows(rows: np.ndarray, blocks: Mapping[str, int], fitted: Fitted) -> np.ndarray:
    """Rows `float32 [N, F]` of all blocks after what was fitted."""
    parts, start = [np.zeros((len(rows), 0), np.float32)], 0
    for name, width in blocks.items():
        parts.append(changed(rows[:, start : start + width], fitted.get(name)))
        start += width
    return np.concatenate(parts, axis=1)
