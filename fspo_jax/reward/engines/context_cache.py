"""A cache of the keys and values of users' contexts, with a limit on memory."""

from __future__ import annotations

import functools
import hashlib
import threading
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.parts import LanguageParts
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.engines.context_rows import appended, context_row, in_one_row, shot_rows
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.reward.engines.user_texts import UserTexts
from fspo_jax.text.packing import Context as TokenContext
from fspo_jax.text.packing import fitting_context
from fspo_jax.types import ReadTexts, TokenLayout

Kept = tuple[KeyValues, ...]
"""Keys and values of one context: of the policy and, if there is one, of the reference."""


class ContextState(NamedTuple):
    """A context as tokens, and the digest under which its keys and values are cached."""

    context: TokenContext
    digest: str


class ContextCache:
    """Keeps at most `limit` bytes and drops the least recently used contexts first. The latest is always kept.

    Threads may share it.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._lock = threading.RLock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Number of bytes in the cache."""
        with self._lock:
            return sum(leaf.nbytes for value in self._kept.values() for leaf in jax.tree.leaves(value))

    def get(self, digest: str) -> Kept | None:
        """Returns the entry of a digest, or None, and marks it as used."""
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
            return self._kept.get(digest)

    def keep(self, digest: str, value: Kept) -> Kept:
        """Stores and returns a value."""
        with self._lock:
            self._kept[digest] = value
            self._kept.move_to_end(digest)
            while len(self._kept) > 1 and self.nbytes > self._limit:
                self._kept.popitem(last=False)
        return value


@dataclass(frozen=True, eq=False)
class ContextReader:
    """Reads contexts with a language model, and caches the keys and values.

    Attributes:
        parts: Model, template and tokenizer.
        params, frozen: Parameters.
        cache: The cache of keys and values. A dropped context is read again when its user is needed.
    """

    parts: LanguageParts
    params: Params
    frozen: Params
    cache: ContextCache

    def state(self, context: UserTexts) -> ContextState:
        """Turns a context into tokens. If it is too long, the oldest pairs are left out, with a warning."""
        shots = context.preferences
        laid, dropped = fitting_context(self.parts.template, shots, self.parts.form, context.description)
        self.warn_dropped(dropped, len(shots))
        digest = hashlib.sha256(b"".join(np.asarray(part, np.int64).tobytes() for part in laid[:3]))
        return ContextState(laid, digest.hexdigest())

    def warn_dropped(self, dropped: int, shots: int) -> None:
        """Warns about pairs that were left out."""
        if dropped:
            warnings.warn(
                f"the oldest {dropped} of {shots} context pairs do not fit into {self.parts.form.context_room:,} "
                "tokens and are not read, as in training. Pass shorter or fewer pairs.",
                stacklevel=5,  # the caller of `adapt`
            )

    def key_values(self, state: ContextState) -> Kept:
        """Returns keys and values from the cache, or computes them: in the parallel layout shot by shot."""
        kept = self.cache.get(state.digest)
        if kept is None:
            head = self.state(UserTexts(()))
            if self.parts.form.layout == "parallel" and head.digest != state.digest:
                self.key_values(head)
                kept = self._appended(head, state)
            if kept is None:
                row = context_row(state.context, bucket(len(state.context.tokens), 64))
                kept = self._prefill(self.params, self.frozen, (), (self.parts.read(row[0]), row[1]))
            self.cache.keep(state.digest, kept)
        return kept

    def grow(self, before: ContextState, after: ContextState) -> None:
        """Computes `key_values(after)`, from those of `before` if that is possible."""
        grown = self._appended(before, after)
        if grown is None:
            self.key_values(after)
        else:
            self.cache.keep(after.digest, grown)

    def decoders(self, params: Params, frozen: Params) -> list[Any]:
        """Returns the decoder of the policy and, if the reward needs it, of the reference."""
        model = self.parts.model
        decoders = [model.decoder_of(params, frozen)]
        reference = model.reference_of(frozen)
        if model.config.reward == "implicit" and reference is not None:
            decoders.append(reference)
        return decoders

    def _appended(self, before: ContextState, after: ContextState) -> Kept | None:
        """In the parallel layout, appends the keys and values of the new shots to the old ones.

        A shot sees the head and itself. Each is computed in its own row, so the cost is linear in their number.
        """
        old, new = len(before.context.tokens), len(after.context.tokens)
        kept = self.cache.get(before.digest)
        same = new > old and all(
            np.array_equal(part[:old], whole[:old])
            for part, whole in zip(before.context[:3], after.context[:3], strict=True)
        )
        fresh = after.context.group[old:]
        if self.parts.form.layout != "parallel" or kept is None or not same or (fresh >= 0).any():
            return None
        tokens, position = (part[old:] for part in after.context[:2])
        row, layout, places = shot_rows(tokens, position, fresh)
        head = self.key_values(self.state(UserTexts(())))
        blocks = self._prefill(self.params, self.frozen, head, (self.parts.read(row), layout))
        return tuple(
            appended(part, old, in_one_row(block, places), new - old, bucket(new, 64))
            for part, block in zip(kept, blocks, strict=True)
        )

    @functools.cached_property
    def _prefill(self) -> Any:
        def prefill(
            params: Params,
            frozen: Params,
            past: tuple[KeyValues, ...],
            rows: tuple[jax.Array | ReadTexts, TokenLayout],
        ) -> tuple[KeyValues, ...]:
            decoders = self.decoders(params, frozen)
            return tuple(
                self.parts.model.prefill(decoder, *rows, *past[i : i + 1])
                for i, decoder in enumerate(decoders)
            )

        return jax.jit(prefill)
