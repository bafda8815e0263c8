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
    """A context, its number of tokens, the position after them, and the digest of its keys and values in the cache."""

    texts: UserTexts
    size: int
    next: int
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
        """Measures a context. If it is too long, the oldest pairs are left out, with a warning."""
        laid, dropped = self.laid(context)
        self.warn_dropped(dropped, len(context.preferences))
        digest = hashlib.sha256(context.to_arrays()["texts"].tobytes())
        return ContextState(context, len(laid.tokens), laid.next, digest.hexdigest())

    def laid(self, context: UserTexts) -> tuple[TokenContext, int]:
        """Turns a context into tokens, and counts the pairs that were left out."""
        return fitting_context(self.parts.template, context.preferences, self.parts.form, context.description)

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
                with self.parts.reading():
                    row, layout = context_row(self.laid(state.texts)[0], bucket(state.size, 64))
                    read = self.parts.read(row)
                kept = self._prefill(self.params, self.frozen, (), (read, layout))
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
        old, new = before.size, after.size
        kept = self.cache.get(before.digest)
        if self.parts.form.layout != "parallel" or kept is None:
            return None
        with self.parts.reading():
            known, laid = (self.laid(state.texts)[0] for state in (before, after))
            same = new > old and all(
                np.array_equal(part, whole[:old]) for part, whole in zip(known[:3], laid[:3], strict=True)
            )
            tokens, position, fresh = (part[old:] for part in laid[:3])
            if not same or (fresh >= 0).any():
                return None
            row, layout, places = shot_rows(tokens, position, fresh)
            read = self.parts.read(row)
        head = self.key_values(self.state(UserTexts(())))
        blocks = self._prefill(self.params, self.frozen, head, (read, layout))
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
