"""Guidance token by token: the log-ratio of policy and reference, and a logits processor of transformers with it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.errors import FspoError
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.sampling import Read, empty_buffer, next_logits
from fspo_jax.reward.engines.context_cache import ContextState
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.types import Prompt, TokenLayout

if TYPE_CHECKING:
    from fspo_jax.reward.engines.in_context_writing import InContextWriting

SMALLEST_BUFFER = 64

SILENT = -1
"""In place of a token's id in another model: this model has no such token."""


def log_ratio(logits: Sequence[jax.Array]) -> jax.Array:
    """log pi - log pi_ref of each next token, `float32 [N, V]`, from the logits of policy and reference, if any."""
    policy = jax.nn.log_softmax(logits[0])
    return policy - jax.nn.log_softmax(logits[1]) if len(logits) > 1 else policy


def ids_in_reward(writing: InContextWriting, vocabulary: int) -> np.ndarray:
    """For each token of another model with the same tokenizer its id in the reward's, `int32 [V]`, or `SILENT`.

    Raises:
        FspoError: The other model has too few tokens, so it cannot have the same tokenizer.
    """
    parts = writing.scoring.parts
    if vocabulary < parts.tokenizer.rows:
        raise FspoError(
            f"the model that writes has {vocabulary:,} tokens, but this reward's model reads texts of "
            f"{parts.tokenizer.rows:,}. Guide a model with the same tokenizer as the reward's base, or guide block by "
            "block: guidance=fspo.Blockwise()."
        )
    ids = np.full(vocabulary, SILENT, np.int32)
    text = np.flatnonzero(parts.tokenizer.is_text[:vocabulary])
    ids[text] = text
    ends = [end for end in parts.model.architecture.end_tokens if end < vocabulary]
    ids[ends] = parts.end_token
    return ids


class LogRatioProcessor:
    """Adds the log-ratio of a user's policy to its reference to the scores of the next token. It needs no torch.

    The rows of `input_ids` are responses to one prompt. Those of the first call are the prompt as the other model reads
    it, and are not looked at. In each later call every row must be one of the call before with one more token, in any
    order, as sampling and beam search make them; anything else begins anew. One thread at a time.

    Args:
        writing, state: Of the user.
        prompt: What the responses answer.
        strength: Factor of the log-ratio.
    """

    def __init__(self, writing: InContextWriting, state: ContextState, prompt: Prompt, strength: float):
        self._writing, self._strength = writing, strength
        self._asked = writing.ask(state, prompt)
        self._rows: list[tuple[int, ...]] = []
        self._ids = np.zeros(0, np.int32)
        self._step = 0
        self._buffers: tuple[KeyValues, ...] = ()

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Returns scores of the next token with the log-ratio added, as torch tensors `[rows, tokens]`.

        Raises:
            FspoError: The model has too few tokens, so it cannot have the tokenizer of the reward's base.
        """
        rows = [tuple(row) for row in input_ids.tolist()]
        if len(self._ids) != scores.shape[-1]:
            self._ids = ids_in_reward(self._writing, scores.shape[-1])
        ids = self._ids
        places = {row: i for i, row in enumerate(self._rows)}
        order = [places.get(row[:-1]) for row in rows]
        if self._rows and None not in order:
            self._step += 1
            last = ids[[row[-1] for row in rows]]
            tokens = np.where(last == SILENT, self._writing.scoring.parts.end_token, last)
        else:
            self._step, self._buffers, order = 0, (), [0] * len(rows)
            tokens = np.full(len(rows), self._asked.reads[0].first, np.int32)
        self._rows = rows
        ratio, self._buffers = self._read(
            self._asked.params,
            self._asked.reads,
            self._buffers,
            np.array(order, np.int32),
            tokens,
            np.int32(self._step),
            size=bucket(self._step + 1, SMALLEST_BUFFER),
        )
        added = self._strength * np.where(ids == SILENT, 0.0, np.asarray(ratio)[:, ids])
        return scores + scores.new_tensor(added)

    @functools.cached_property
    def _read(self) -> Any:
        writing = self._writing

        @functools.partial(jax.jit, static_argnames="size")
        def read(
            params: tuple[Any, ...],
            reads: Sequence[Read],
            buffers: tuple[KeyValues, ...],
            order: jax.Array,
            tokens: jax.Array,
            step: jax.Array,
            *,
            size: int,
        ) -> tuple[jax.Array, tuple[KeyValues, ...]]:
            logits, kept = [], []
            for i, (network, own) in enumerate(zip(writing.networks(params), reads, strict=True)):
                buffer = empty_buffer(network, len(tokens), size, writing.dtype)
                if buffers:
                    buffer = moved(buffers[i], order, buffer)
                found, buffer = next_logits(network, own, buffer, tokens, step, writing.dtype)
                logits.append(found)
                kept.append(buffer)
            return log_ratio(logits), tuple(kept)

        return read


def moved(old: KeyValues, order: jax.Array, empty: KeyValues) -> KeyValues:
    """The rows of a buffer in a new order, in an empty buffer of at least its size."""
    size = old.keys.shape[2]
    return KeyValues(
        empty.keys.at[:, :, :size].set(old.keys[:, order]),
        empty.values.at[:, :, :size].set(old.values[:, order]),
        TokenLayout(
            *(
                e.at[:, :size].set(jnp.asarray(o)[order])
                for e, o in zip(empty.layout, old.layout, strict=True)
            )
        ),
    )
