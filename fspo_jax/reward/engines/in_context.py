"""The engine of language models that read the context as tokens."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.checkpoints import reward_fingerprint
from fspo_jax.checkpoints.language import LanguageParts, write_language_reward
from fspo_jax.config import TrainConfig
from fspo_jax.data.packing import Context as TokenContext
from fspo_jax.data.packing import Description, fitting_context, pack_to_common_shape
from fspo_jax.errors import FspoError, LimitError
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.log_probabilities import token_log_probabilities
from fspo_jax.models.language.decoder.sampling import Sampled, sample
from fspo_jax.models.language.reward_model import COMPUTE
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.engines.context_cache import (
    ContextCache,
    Kept,
    appended,
    context_row,
    in_one_row,
    shot_rows,
    token_rows,
)
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.reward.engines.user_texts import UserTexts
from fspo_jax.types import Preference, Prompt, TokenLayout

CACHE_BYTES = 4 * 2**30
"""Keys and values of contexts that an engine keeps; the least recently used go first and are computed again."""

CANDIDATES_PER_BATCH = 64
USERS_PER_BATCH = 8


class ContextState(NamedTuple):
    """A context laid out as tokens, and the digest under which its keys and values are kept."""

    context: TokenContext
    digest: str


@dataclass(frozen=True, eq=False)
class InContextEngine:
    """A language model that reads the context. A context is its pairs, with their texts.

    The keys and values of contexts are kept up to `cache_bytes` in all, the least recently used dropped first; a
    dropped one is computed again when its user is next asked for. Candidates are rows that share their context's and
    their question's keys and values.

    Attributes:
        config: Of meta-training.
        parts: Model, template and tokenizer.
        params, frozen: Parameters.
        cache_bytes: Bound on the keys and values kept.
        stored_fingerprint: Of the files that it was loaded from, if it was.
    """

    config: TrainConfig
    parts: LanguageParts
    params: Params
    frozen: Params
    cache_bytes: int = CACHE_BYTES
    stored_fingerprint: str = ""

    @functools.cached_property
    def _cache(self) -> ContextCache:
        return ContextCache(self.cache_bytes)

    @property
    def cached_bytes(self) -> int:
        """Bytes of the keys and values that are kept now."""
        return self._cache.nbytes

    @functools.cached_property
    def fingerprint(self) -> str:
        return self.stored_fingerprint or reward_fingerprint(
            jax.device_get(self.params), self.config, self.parts.fingerprint
        )

    def save(self, path: str | Path, temperature: float) -> None:
        write_language_reward(
            path, self.parts, self.params, self.frozen, self.config, temperature=temperature
        )

    def read(self, preferences: Sequence[Preference]) -> UserTexts:
        return UserTexts(tuple(preferences))

    def join(self, context: UserTexts, more: UserTexts) -> UserTexts:
        return UserTexts(context.preferences + more.preferences, context.description or more.description)

    def count(self, context: UserTexts) -> int:
        return len(context.preferences)

    def state(self, context: UserTexts) -> ContextState:
        state = self._laid_out(context)
        self._key_values(state)
        return state

    def update(self, state: ContextState, context: UserTexts, more: UserTexts) -> ContextState:
        joined = self._laid_out(self.join(context, more))
        grown = self._appended(state, joined)
        if grown is None:
            self._key_values(joined)
        else:
            self._cache.keep(joined.digest, grown)
        return joined

    def score(
        self, state: ContextState, prompt: Prompt, candidates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        template = self.parts.template
        question = template.question(prompt)
        responses = [template.response(text) for text in candidates]
        room = self.parts.form.length
        for i, response in enumerate(responses):
            if len(question) + len(response) > room:
                raise LimitError(
                    f"prompt and candidates[{i}] have {len(question) + len(response):,} tokens; this checkpoint reads "
                    f"rows of at most {room:,}. Shorten them: texts are never cut silently."
                )
        past = self._key_values(state)
        start = state.context.next
        head = token_rows([question[:-1]], start, width=bucket(len(question) - 1, 16), group=1, branch=0)
        rewards = np.zeros(len(candidates), np.float32)
        # Rows of about one length together: little padding, and a score does not depend on its neighbours.
        order = sorted(range(len(candidates)), key=lambda i: len(responses[i]))
        for first in range(0, len(order), CANDIDATES_PER_BATCH):
            chosen = order[first : first + CANDIDATES_PER_BATCH]
            tokens = [np.concatenate([question[-1:], responses[i]]) for i in chosen]
            height = bucket(len(tokens), 4)
            rows = token_rows(
                tokens + [tokens[0]] * (height - len(tokens)),
                start + len(question) - 1,
                width=bucket(max(map(len, tokens)), 16),
                group=1,
                branch=1,
            )
            lengths = np.array([len(row) for row in tokens] + [1] * (height - len(tokens)), np.int32)
            rewards[chosen] = np.asarray(self._score(self.params, self.frozen, past, head, rows, lengths))[
                : len(chosen)
            ]
        return rewards, np.full(len(candidates), np.nan, np.float32)

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str] = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Engine.margins`; `descriptions` of the users, or none, are read behind their contexts."""
        mean = np.zeros((len(queries), max(map(len, queries), default=0)), np.float32)
        episodes = list(zip(contexts, queries, strict=True))
        parts = [episodes[i : i + USERS_PER_BATCH] for i in range(0, len(episodes), USERS_PER_BATCH)]
        template, form = self.parts.template, self.parts.form
        given = [Description(text, True) for text in descriptions] or [None] * len(episodes)
        read = [given[i : i + USERS_PER_BATCH] for i in range(0, len(episodes), USERS_PER_BATCH)]
        packings = pack_to_common_shape(template, parts, form, read)
        self._warn_dropped(sum(p.dropped_shots for p in packings), sum(map(len, contexts)))
        for first, packing in zip(range(0, len(queries), USERS_PER_BATCH), packings, strict=True):
            rewards = np.asarray(self._rewards(self.params, self.frozen, packing.rows))
            for row, places in zip(mean[first : first + USERS_PER_BATCH], packing.places, strict=True):
                found = rewards[places[:, 0], places[:, 1]]
                row[: len(places)] = found[:, 0] - found[:, 1]
        return mean, np.zeros_like(mean)

    def generate(
        self,
        state: ContextState,
        prompt: Prompt,
        n: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> list[str]:
        parts = self.parts
        if parts.model.config.reward != "implicit":
            raise FspoError(
                f"a language model with reward '{parts.model.config.reward}' scores responses and writes none. Pass a "
                'generator, or meta-train with reward = "implicit".'
            )
        question = np.concatenate([parts.template.question(prompt), parts.template.opening()])
        return self._answers(state, question, n, temperature, top_p, max_tokens, seed)

    def describe(self, state: ContextState, temperature: float, max_tokens: int, seed: int) -> str:
        if not self.parts.model.config.description_weight:
            raise FspoError(
                "this language model was not meta-trained to describe people. Meta-train with "
                "'scorer.description_weight' above 0."
            )
        return self._answers(state, self.parts.template.describe(), 1, temperature, 1.0, max_tokens, seed)[0]

    def with_description(self, context: UserTexts, text: str) -> UserTexts:
        return context._replace(description=text)

    def _answers(
        self,
        state: ContextState,
        question: np.ndarray,
        n: int,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
    ) -> list[str]:
        """Samples what follows a question."""
        parts = self.parts
        start = state.context.next
        head = token_rows([question[:-1]], start, width=bucket(len(question) - 1, 16), group=1, branch=0)
        sampled = self._sample(
            self.params,
            self.frozen,
            self._key_values(state)[0],
            head,
            question[-1],
            np.int32(start + len(question) - 1),
            jax.random.key(seed),
            np.float32(temperature),
            np.float32(top_p),
            n=n,
            max_tokens=max_tokens,
        )
        tokens, lengths = jax.device_get(sampled)
        return [
            parts.tokenizer.decode(row[:length].tolist()).strip()
            for row, length in zip(tokens, lengths.tolist(), strict=True)
        ]

    def to_arrays(self, context: UserTexts) -> dict[str, np.ndarray]:
        return context.to_arrays()

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> UserTexts:
        return UserTexts.from_arrays(arrays)

    def _laid_out(self, context: UserTexts) -> ContextState:
        form = self.parts.form
        shots = context.preferences
        laid, dropped = fitting_context(self.parts.template, shots, form, form.length, context.description)
        self._warn_dropped(dropped, len(shots))
        digest = hashlib.sha256(b"".join(np.asarray(part, np.int64).tobytes() for part in laid[:3]))
        return ContextState(laid, digest.hexdigest())

    def _warn_dropped(self, dropped: int, shots: int) -> None:
        if dropped:
            warnings.warn(
                f"{dropped} of {shots} context pairs, the oldest, had no room in {self.parts.form.length:,} tokens and "
                "are not read. Pass shorter or fewer pairs.",
                stacklevel=4,
            )

    def _key_values(self, state: ContextState) -> Kept:
        """From the cache, else computed: in the parallel layout from the head, shot by shot, else in one row."""
        kept = self._cache.get(state.digest)
        if kept is None:
            head = self._laid_out(UserTexts(()))
            if self.parts.form.layout == "parallel" and head.digest != state.digest:
                self._key_values(head)
                kept = self._appended(head, state)
            if kept is None:
                row = context_row(state.context, bucket(len(state.context.tokens), 64))
                kept = self._prefill(self.params, self.frozen, (), row)
            self._cache.keep(state.digest, kept)
        return kept

    def _appended(self, before: ContextState, after: ContextState) -> Kept | None:
        """In the parallel layout, the old keys and values with those of the new shots behind them.

        A shot sees the head and itself: each is a row of its own, so the cost is linear in their number.
        """
        old, new = len(before.context.tokens), len(after.context.tokens)
        kept = self._cache.get(before.digest)
        same = new > old and all(
            np.array_equal(part[:old], whole[:old])
            for part, whole in zip(before.context[:3], after.context[:3], strict=True)
        )
        fresh = after.context.group[old:]
        if self.parts.form.layout != "parallel" or kept is None or not same or (fresh >= 0).any():
            return None
        tokens, position = (part[old:] for part in after.context[:2])
        row, layout, places = shot_rows(tokens, position, fresh)
        head = self._key_values(self._laid_out(UserTexts(())))
        blocks = self._prefill(self.params, self.frozen, head, (row, layout))
        return tuple(
            appended(part, old, in_one_row(block, places), new - old, bucket(new, 64))
            for part, block in zip(kept, blocks, strict=True)
        )

    def _decoders(self, params: Params, frozen: Params) -> list[Any]:
        """The policy's decoder and, where the reward needs one, the reference's."""
        model = self.parts.model
        decoders = [model.decoder_of(params, frozen)]
        reference = model.reference_of(frozen)
        if model.config.reward == "implicit" and reference is not None:
            decoders.append(reference)
        return decoders

    @functools.cached_property
    def _prefill(self) -> Any:
        def prefill(
            params: Params,
            frozen: Params,
            past: tuple[KeyValues, ...],
            rows: tuple[jax.Array, TokenLayout],
        ) -> tuple[KeyValues, ...]:
            decoders = self._decoders(params, frozen)
            return tuple(
                self.parts.model.prefill(decoder, *rows, *past[i : i + 1])
                for i, decoder in enumerate(decoders)
            )

        return jax.jit(prefill)

    @functools.cached_property
    def _score(self) -> Any:
        model = self.parts.model
        dtype = COMPUTE[model.config.compute]

        def score(
            params: Params,
            frozen: Params,
            past: tuple[KeyValues, ...],
            question: tuple[jax.Array, TokenLayout],
            rows: tuple[jax.Array, TokenLayout],
            lengths: jax.Array,
        ) -> jax.Array:
            tokens, layout = rows
            sums = []
            for decoder, context in zip(self._decoders(params, frozen), past, strict=True):
                network = model.bind(decoder)
                asked = model.prefill(decoder, *question, context)
                hidden, _ = network(tokens, layout, (context, asked), dtype=dtype)
                if model.config.reward == "scalar":
                    ends = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
                    return ends.astype(jnp.float32) @ params["reward"]["weight"]
                flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
                logs = token_log_probabilities(flat, network.output_matrix(), tokens[:, 1:].reshape(-1))
                used = jnp.arange(1, tokens.shape[1]) < lengths[:, None]
                sums.append(jnp.where(used, logs.reshape(used.shape), 0.0).sum(-1))
            return model.config.beta * (sums[0] - sum(sums[1:]))

        return jax.jit(score)

    @functools.cached_property
    def _sample(self) -> Any:
        parts = self.parts
        model, tokenizer = parts.model, parts.tokenizer
        end = int(parts.template.response("")[-1])
        allowed = np.arange(model.architecture.vocabulary) < tokenizer.text_tokens
        allowed[end] = True

        @functools.partial(jax.jit, static_argnames=("n", "max_tokens"))
        def run(
            params: Params,
            frozen: Params,
            context: KeyValues,
            question: tuple[jax.Array, TokenLayout],
            first: jax.Array,
            start: jax.Array,
            key: jax.Array,
            temperature: jax.Array,
            top_p: jax.Array,
            *,
            n: int,
            max_tokens: int,
        ) -> Sampled:
            decoder = model.decoder_of(params, frozen)
            return sample(
                model.bind(decoder),
                (context, model.prefill(decoder, *question, context)),
                first,
                start,
                key,
                count=n,
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                allowed=jnp.asarray(allowed),
                end_token=end,
                dtype=COMPUTE[model.config.compute],
            )

        return run

    @functools.cached_property
    def _rewards(self) -> Any:
        return jax.jit(self.parts.model.rewards)
