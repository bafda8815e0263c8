"""Turns contexts and questions into rows of tokens, and gathers keys and values in one row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.text.packing import Context
from fspo_jax.text.token_rows import token_rows
from fspo_jax.types import TokenLayout


def context_row(context: Context, width: int) -> tuple[np.ndarray, TokenLayout]:
    """Returns a context as one row, padded to `width`."""
    row, layout = token_rows([context.tokens], 0, width=width, group=0, branch=0)
    layout.position[0, : len(context.tokens)] = context.position
    layout.group[0, : len(context.tokens)] = context.group
    return row, layout


def shot_rows(
    shot_tokens: np.ndarray, shot_position: np.ndarray, shot_group: np.ndarray
) -> tuple[np.ndarray, TokenLayout, tuple[np.ndarray, np.ndarray]]:
    """Returns shots of the parallel layout, one per row, and the (row, column) of each token, `int32 [n]` each."""
    _, numbers = np.unique(-shot_group, return_inverse=True)
    columns = np.concatenate([np.arange(count) for count in np.bincount(numbers)])
    shape = bucket(int(numbers.max()) + 1, 1), bucket(int(columns.max()) + 1, 16)
    tokens, position, episode, group, branch = (np.zeros(shape, np.int32) for _ in range(5))
    places = numbers, columns
    tokens[places], position[places], group[places] = shot_tokens, shot_position, shot_group
    episode[places] = 1
    return tokens, TokenLayout(position, episode, group, branch), places


def in_one_row(rows: KeyValues, places: tuple[np.ndarray, np.ndarray]) -> KeyValues:
    """Gathers the keys and values of the tokens at `places` in a single row."""
    return KeyValues(
        rows.keys[:, *places][:, None],
        rows.values[:, *places][:, None],
        TokenLayout(*(leaf[places][None] for leaf in rows.layout)),
    )


def appended(kept: KeyValues, old: int, block: KeyValues, new: int, width: int) -> KeyValues:
    """Joins the first `old` tokens of `kept` and the first `new` of `block` in one row, padded to `width`."""

    def joined(before: jax.Array, after: jax.Array, axis: int) -> jax.Array:
        both = jnp.concatenate(
            [
                jax.lax.slice_in_dim(before, 0, old, axis=axis),
                jax.lax.slice_in_dim(after, 0, new, axis=axis),
            ],
            axis,
        )
        padding = [(0, 0)] * both.ndim
        padding[axis] = (0, width - old - new)
        return jnp.pad(both, padding)

    return KeyValues(
        joined(kept.keys, block.keys, 2),
        joined(kept.values, block.values, 2),
        TokenLayout(*(joined(a, b, 1) for a, b in zip(kept.layout, block.layout, strict=True))),
    )
