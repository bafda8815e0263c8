"""Writes drafts of responses with networks that all read them, and compiles that once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.language.decoder.sampling import Drafts, Network, Read, extend, no_drafts
from fspo_jax.types import Draft, Sampling

Mix = Callable[[Sequence[jax.Array], jax.Array], jax.Array]
"""`(logits of each network, strength) -> logits to sample from`. Pure."""


class Page(NamedTuple):
    """What is needed to go on with a draft.

    Attributes:
        params: Parameters of the networks.
        reads: What each network has read before the responses.
        sampling: How responses are drawn.
        strength: Given to `mix`, `float32 []`.
        drafts: Where the draft stands, or None before its first token.
        row: Which of the drafts it is.
    """

    params: Any
    reads: tuple[Read, ...]
    sampling: Sampling
    strength: np.float32
    drafts: Drafts | None = None
    row: int = 0


@dataclass(frozen=True, eq=False)
class Drafting:
    """Writes drafts with some networks.

    Attributes:
        networks: `params -> networks`. Pure.
        allowed: `bool [V]`, tokens that may be sampled.
        end_tokens: Tokens that end a response.
        decode: Turns tokens into text.
        dtype: Type of the computation.
        mix: What is sampled from; the logits of the first network, if there is one only.
    """

    networks: Callable[[Any], Sequence[Network]]
    allowed: np.ndarray
    end_tokens: tuple[int, ...]
    decode: Callable[[Sequence[int]], str]
    dtype: Any = jnp.float32
    mix: Mix = lambda logits, strength: logits[0]

    def begin(self, params: Any, reads: Sequence[Read], sampling: Sampling, strength: float = 0.0) -> Draft:
        """An empty response after what the networks have read."""
        return Draft(
            "", sampling.max_tokens, False, Page(params, tuple(reads), sampling, np.float32(strength))
        )

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        """As `Writer.continuations`. The n responses are one batch; what was read before them is shared."""
        page: Page = draft.state
        sampling = page.sampling
        drafts = self._extend(
            page.params,
            page.reads,
            page.drafts,
            np.int32(page.row),
            np.int32(sampling.max_tokens - draft.room + min(tokens, draft.room)),
            jax.random.key(sampling.seed),
            np.float32(sampling.temperature),
            np.float32(sampling.top_p),
            page.strength,
            n=n,
            size=sampling.max_tokens,
        )
        step, written, lengths = jax.device_get((drafts.step, drafts.tokens, drafts.lengths))
        made = []
        for row, length in enumerate(lengths.tolist()):
            ended = length < sampling.max_tokens
            used = length if ended else int(step)
            text = self.decode(written[row, :used].tolist()).strip()
            made.append(Draft(text, sampling.max_tokens - used, ended, page._replace(drafts=drafts, row=row)))
        return made

    @functools.cached_property
    def _extend(self) -> Any:
        allowed = jnp.asarray(self.allowed)

        @functools.partial(jax.jit, static_argnames=("n", "size"))
        def run(
            params: Any,
            reads: tuple[Read, ...],
            drafts: Drafts | None,
            row: jax.Array,
            until: jax.Array,
            key: jax.Array,
            temperature: jax.Array,
            top_p: jax.Array,
            strength: jax.Array,
            *,
            n: int,
            size: int,
        ) -> Drafts:
            networks = self.networks(params)
            begun = no_drafts(networks, n, size, self.dtype) if drafts is None else drafts.copies(row, n)
            return extend(
                networks,
                reads,
                begun,
                until,
                key,
                mix=lambda logits: self.mix(logits, strength),
                temperature=temperature,
                top_p=top_p,
                allowed=allowed,
                end_tokens=self.end_tokens,
                dtype=self.dtype,
            )

        return run


def allowed_tokens(vocabulary: int, is_text: np.ndarray, end_tokens: Sequence[int]) -> np.ndarray:
    """Tokens that may be sampled, `bool [V]`: those of texts, and those that end a response."""
    allowed = np.zeros(vocabulary, bool)
    text = is_text[:vocabulary]
    allowed[: len(text)] = text
    allowed[list(end_tokens)] = True
    return allowed
