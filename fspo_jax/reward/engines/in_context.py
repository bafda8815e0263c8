"""Scoring with a language model that reads the context as tokens."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.checkpoints import reward_fingerprint
from fspo_jax.checkpoints.language import write_language_reward
from fspo_jax.config import TrainConfig
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.log_probabilities import token_log_probabilities
from fspo_jax.models.language.parts import LanguageParts
from fspo_jax.models.language.reward_model import COMPUTE
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.engines.context_cache import ContextCache, ContextReader, ContextState
from fspo_jax.reward.engines.contract import NO_TEXTS, Keeping, bucket
from fspo_jax.reward.engines.distinct_pairs import distinct, pair_digest, unknown_pair
from fspo_jax.reward.engines.user_texts import UserTexts
from fspo_jax.text.packing import Description, check_length, pack_to_common_shape
from fspo_jax.text.token_rows import token_rows
from fspo_jax.types import PackedRows, Preference, Prompt, ReadTexts, TokenLayout

CACHE_BYTES = 4 * 2**30
"""Memory for the keys and values of contexts, in bytes."""

CANDIDATES_PER_BATCH = 64
USERS_PER_BATCH = 8

TOKEN_PAIRS = 1 << 25
"""Pairs of tokens of the rows that are computed at a time. Attention takes 4 bytes a head for each of them."""

Row = tuple[Any, TokenLayout]
"""Rows of tokens as the model reads them, and the places of the tokens."""


@dataclass(frozen=True, eq=False)
class InContextScoring:
    """Scores with a language model that reads the context. A context is its pairs, with their texts.

    The keys and values of contexts are cached, up to `cache_bytes` in total. The least recently used ones are dropped
    first, and computed again when they are needed. Each candidate is a row; all rows share the keys and values of their
    context and question.

    Attributes:
        config: The config of meta-training.
        parts: Model, template and tokenizer.
        params, frozen: Trained and frozen parameters.
        cache_bytes: Largest size of the cache of keys and values.
        stored_fingerprint: Fingerprint in the files it was loaded from, if it has files.
    """

    config: TrainConfig
    parts: LanguageParts
    params: Params
    frozen: Params
    cache_bytes: int = CACHE_BYTES
    stored_fingerprint: str = ""

    @functools.cached_property
    def reader(self) -> ContextReader:
        """Reads contexts and caches their keys and values."""
        return ContextReader(self.parts, self.params, self.frozen, ContextCache(self.cache_bytes))

    @property
    def featurizer(self) -> None:
        return None

    @property
    def feature_margins(self) -> None:
        return None

    @functools.cached_property
    def fingerprint(self) -> str:
        return self.stored_fingerprint or reward_fingerprint(
            jax.device_get(self.params), self.config, self.parts.fingerprint
        )

    def save(self, path: str | Path, temperature: float) -> None:
        write_language_reward(
            path, self.parts, self.params, self.frozen, self.config, temperature=temperature
        )

    @property
    def weighs_pairs(self) -> bool:
        return False

    def read(
        self, preferences: Sequence[Preference], keeping: Keeping = NO_TEXTS, days: Sequence[float] = ()
    ) -> UserTexts:
        return UserTexts(tuple(distinct(preferences)))

    def join(
        self, context: UserTexts, preferences: Sequence[Preference], days: Sequence[float] = ()
    ) -> UserTexts:
        return context._replace(preferences=tuple(distinct([*context.preferences, *preferences])))

    def without(self, context: UserTexts, preferences: Sequence[Preference]) -> UserTexts:
        known, gone = map(pair_digest, context.preferences), [pair_digest(pair) for pair in preferences]
        by_digest = dict(zip(known, context.preferences, strict=True))
        for i, digest in enumerate(gone):
            if digest not in by_digest:
                raise unknown_pair(i)
        return context._replace(
            preferences=tuple(pair for digest, pair in by_digest.items() if digest not in gone)
        )

    def preferences(self, context: UserTexts) -> tuple[Preference, ...]:
        return context.preferences

    def left_out(self, context: UserTexts, place: int) -> UserTexts:
        rest = context.preferences[:place] + context.preferences[place + 1 :]
        return context._replace(preferences=rest)

    def kept_margin(self, state: ContextState, context: UserTexts, place: int) -> tuple[float, float]:
        pair = context.preferences[place]
        chosen, rejected = self.score(state, pair.prompt, [pair.chosen, pair.rejected])[0].tolist()
        return chosen - rejected, 0.0

    def taste(self, state: ContextState, steps: np.ndarray | None = None) -> None:
        return None

    def has(self, context: UserTexts, preferences: Sequence[Preference]) -> list[bool]:
        known = set(map(pair_digest, context.preferences))
        return [pair_digest(pair) in known for pair in preferences]

    def count(self, context: UserTexts) -> int:
        return len(context.preferences)

    def keeping(self, context: UserTexts) -> Keeping:
        return Keeping(texts=True)

    def dated(self, context: UserTexts) -> bool:
        return False

    def state(self, context: UserTexts) -> ContextState:
        state = self.reader.state(context)
        self.reader.key_values(state)
        return state

    def update(self, state: ContextState, context: UserTexts) -> ContextState:
        joined = self.reader.state(context)
        self.reader.grow(state, joined)
        return joined

    def score(
        self, state: ContextState, prompt: Prompt, candidates: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        past, rewards = self.reader.key_values(state), np.zeros(len(candidates), np.float32)
        with self.parts.reading():
            head, batches = self._rows(state, prompt, candidates)
        for chosen, rows, lengths in batches:
            found = self._score(self.params, self.frozen, past, head, rows, lengths)
            rewards[chosen] = np.asarray(found)[: len(chosen)]
        return rewards, np.full(len(candidates), np.nan, np.float32)

    def _rows(
        self, state: ContextState, prompt: Prompt, candidates: Sequence[str]
    ) -> tuple[Row, list[tuple[list[int], Row, np.ndarray]]]:
        """The row of a question, and batches of candidates: their numbers, their rows, and the lengths of these."""
        template = self.parts.template
        question = template.question(prompt)
        responses = [template.response(prompt, text) for text in candidates]
        for i, response in enumerate(responses):
            check_length(
                f"prompt and candidates[{i}]", state.size, len(question) + len(response), self.parts.form
            )
        before, start = question[:-1], state.next
        head = token_rows([before], start, width=bucket(len(before), 16), group=1, branch=0)
        batches = []
        # Rows of similar length together, for little padding. A score does not depend on the other rows.
        order = sorted(range(len(candidates)), key=lambda i: len(responses[i]))
        for first in range(0, len(order), CANDIDATES_PER_BATCH):
            chosen = order[first : first + CANDIDATES_PER_BATCH]
            tokens = [np.concatenate([question[-1:], responses[i]]) for i in chosen]
            height = bucket(len(tokens), 4)
            rows = token_rows(
                tokens + [tokens[0]] * (height - len(tokens)),
                start + len(before),
                width=bucket(max(map(len, tokens)), 16),
                group=1,
                branch=1,
            )
            lengths = np.array([len(row) for row in tokens] + [1] * (height - len(tokens)), np.int32)
            batches.append((chosen, rows, lengths))
        self.parts.prepare([head[0], *(rows[0] for _, rows, _ in batches)])
        return self._read(head), [(chosen, self._read(rows), lengths) for chosen, rows, lengths in batches]

    def margin_posterior(self, state: ContextState, pairs: Sequence[Preference]) -> None:
        return None

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str] = (),
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Scoring.margins`. If there are descriptions of the users, they are read after the contexts."""
        mean = np.zeros((len(queries), max(map(len, queries), default=0)), np.float32)
        episodes = list(zip(contexts, queries, strict=True))
        parts = [episodes[i : i + USERS_PER_BATCH] for i in range(0, len(episodes), USERS_PER_BATCH)]
        template, form = self.parts.template, self.parts.form
        given = [Description(text, True) for text in descriptions] or [None] * len(episodes)
        read = [given[i : i + USERS_PER_BATCH] for i in range(0, len(episodes), USERS_PER_BATCH)]
        with self.parts.reading():
            packings = pack_to_common_shape(template, parts, form, read)
            rows = [self.parts.read_rows(packing.rows) for packing in packings]
        self.reader.warn_dropped(sum(p.dropped_shots for p in packings), sum(map(len, contexts)))
        for i, (batch, packing) in enumerate(zip(rows, packings, strict=True)):
            rewards = self._rewards_of(batch)
            here = slice(i * USERS_PER_BATCH, (i + 1) * USERS_PER_BATCH)
            for row, places in zip(mean[here], packing.places, strict=True):
                found = rewards[places[:, 0], places[:, 1]]
                row[: len(places)] = found[:, 0] - found[:, 1]
        return mean, np.zeros_like(mean)

    def _rewards_of(self, rows: PackedRows) -> np.ndarray:
        """Rewards `[R, P, 2]`, a few rows at a time if they are long."""
        count, length = rows.layout.position.shape
        height = min(count, max(1, TOKEN_PAIRS // length**2))
        found = []
        for start in range(0, count, height):
            # The last part begins again with the first row, so that all parts have one shape.
            part = np.arange(start, start + height) % count
            chosen = jax.tree.map(lambda leaf, part=part: leaf[part], rows)
            found.append(np.asarray(self._rewards(self.params, self.frozen, chosen)))
        return np.concatenate(found)[:count]

    def warm_up(self) -> None:
        self.score(self.state(self.read(())), "?", [""])

    def to_arrays(self, context: UserTexts) -> dict[str, np.ndarray]:
        return context.to_arrays()

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> UserTexts:
        return UserTexts.from_arrays(arrays)

    def _read(self, row: tuple[np.ndarray, TokenLayout]) -> Row:
        return self.parts.read(row[0]), row[1]

    @functools.cached_property
    def _score(self) -> Any:
        model = self.parts.model
        dtype = COMPUTE[model.config.compute]

        def score(
            params: Params,
            frozen: Params,
            past: tuple[KeyValues, ...],
            question: Row,
            rows: Row,
            lengths: jax.Array,
        ) -> jax.Array:
            tokens, layout = rows
            ids = tokens.tokens if isinstance(tokens, ReadTexts) else tokens
            sums = []
            for decoder, context in zip(self.reader.decoders(params, frozen), past, strict=True):
                network = model.bind(decoder)
                asked = model.prefill(decoder, *question, context)
                hidden, _ = network(tokens, layout, (context, asked), dtype=dtype)
                if model.config.reward == "scalar":
                    ends = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
                    return ends.astype(jnp.float32) @ params["reward"]["weight"]
                flat = hidden[:, :-1].reshape(-1, hidden.shape[-1])
                logs = token_log_probabilities(
                    flat,
                    network.output_matrix(),
                    ids[:, 1:].reshape(-1),
                    softcap=model.architecture.logit_softcap,
                )
                used = jnp.arange(1, ids.shape[1]) < lengths[:, None]
                sums.append(jnp.where(used, logs.reshape(used.shape), 0.0).sum(-1))
            return model.config.beta * (sums[0] - sum(sums[1:]))

        return jax.jit(score)

    @functools.cached_property
    def _rewards(self) -> Any:
        return jax.jit(self.parts.model.rewards)
