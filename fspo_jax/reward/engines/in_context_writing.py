"""Writing with a language model that reads the context: responses and descriptions of the user."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.sampling import Sampled, sample
from fspo_jax.models.language.reward_model import COMPUTE
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.engines.context_cache import ContextState
from fspo_jax.reward.engines.context_rows import token_rows
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.reward.engines.in_context import InContextScoring
from fspo_jax.reward.engines.user_texts import UserTexts
from fspo_jax.text.packing import check_length
from fspo_jax.types import Preference, Prompt, TokenLayout


@dataclass(frozen=True, eq=False)
class InContextWriting:
    """Writes with the language model of a reward, after a user's context.

    Attributes:
        scoring: Provides the model, and the keys and values of contexts.
    """

    scoring: InContextScoring

    @property
    def generates(self) -> bool:
        return self.scoring.parts.model.config.reward == "implicit"

    @property
    def describes(self) -> bool:
        return self.scoring.parts.model.config.description_weight > 0

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
        template = self.scoring.parts.template
        question = np.concatenate([template.question(prompt), template.opening()])
        return self._answers(state, question, n, temperature, top_p, max_tokens, seed)

    def describe(self, state: ContextState, temperature: float, max_tokens: int, seed: int) -> str:
        question = self.scoring.parts.template.describe()
        return self._answers(state, question, 1, temperature, 1.0, max_tokens, seed)[0]

    def with_description(self, context: UserTexts, text: str) -> UserTexts:
        return context._replace(description=text)

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str],
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.scoring.margins(contexts, queries, descriptions)

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
        """Samples the tokens after a question, as many as can be scored afterwards."""
        scoring = self.scoring
        form, template, size = scoring.parts.form, scoring.parts.template, len(state.context.tokens)
        around = len(question) + len(template.response("")) - len(template.opening())
        check_length("the prompt and one token", size, around + 1, form)
        max_tokens = min(max_tokens, form.length - size - around)
        start = state.context.next
        head = token_rows([question[:-1]], start, width=bucket(len(question) - 1, 16), group=1, branch=0)
        sampled = self._sample(
            scoring.params,
            scoring.frozen,
            scoring.reader.key_values(state)[0],
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
            scoring.parts.tokenizer.decode(row[:length].tolist()).strip()
            for row, length in zip(tokens, lengths.tolist(), strict=True)
        ]

    @functools.cached_property
    def _sample(self) -> Any:
        parts = self.scoring.parts
        model, tokenizer = parts.model, parts.tokenizer
        ends = (int(parts.template.response("")[-1]), *model.architecture.end_tokens)
        allowed = np.zeros(model.architecture.vocabulary, bool)
        text = tokenizer.is_text[: len(allowed)]
        allowed[: len(text)] = text
        allowed[list(ends)] = True
        allowed = jnp.asarray(allowed)

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
                allowed=allowed,
                end_tokens=ends,
                dtype=COMPUTE[model.config.compute],
            )

        return run
