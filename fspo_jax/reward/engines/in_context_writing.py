"""Writing with a language model that reads the context: responses, descriptions of the user, and guidance by it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.errors import DataError
from fspo_jax.models.language.chat_writer import ChatWriter
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.sampling import Network, Read
from fspo_jax.models.language.drafting import Drafting, allowed_tokens
from fspo_jax.models.language.reward_model import COMPUTE
from fspo_jax.models.language.split_decoder import SplitDecoder
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.engines.context_cache import ContextState
from fspo_jax.reward.engines.contract import bucket
from fspo_jax.reward.engines.in_context import InContextScoring
from fspo_jax.reward.engines.log_ratio import SILENT, LogRatioProcessor, ids_in_reward, log_ratio
from fspo_jax.reward.engines.user_texts import UserTexts
from fspo_jax.text.packing import check_length
from fspo_jax.text.token_rows import token_rows
from fspo_jax.types import Draft, Preference, Prompt, Sampling, TokenLayout, Writer


class Asked(NamedTuple):
    """A question that was read after a user's context.

    Attributes:
        params: What `InContextWriting.networks` makes the networks of.
        reads: What the policy and, if there is one, the reference have read.
        room: Number of tokens of an answer that can be scored.
    """

    params: tuple[Any, ...]
    reads: tuple[Read, ...]
    room: int


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

    def writer(self, state: ContextState) -> Writer:
        return PolicyWriter(self, state)

    def guided(self, state: ContextState, writer: Writer | None, strength: float) -> Writer:
        inner = _chat_writer(writer)
        if not (writer is None or isinstance(inner, ChatWriter)):
            raise DataError(
                "guidance token by token needs the logits of the writer: pass writer=fspo.load_writer(...), or no "
                f"writer for this reward's own model, not a {type(inner).__name__}. Or guide block by block: "
                "guidance=fspo.Blockwise()."
            )
        return GuidedWriter(self, state, writer, strength)

    def processor(self, state: ContextState, prompt: Prompt, strength: float) -> Callable[[Any, Any], Any]:
        return LogRatioProcessor(self, state, prompt, strength)

    def describe(self, state: ContextState, sampling: Sampling) -> str:
        draft = self.begin(state, None, sampling)
        return self.drafting.continuations(draft, 1, draft.room)[0].text

    def with_description(self, context: UserTexts, text: str) -> UserTexts:
        return context._replace(description=text)

    def margins(
        self,
        contexts: Sequence[Sequence[Preference]],
        queries: Sequence[Sequence[Preference]],
        descriptions: Sequence[str],
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.scoring.margins(contexts, queries, descriptions)

    def ask(self, state: ContextState, prompt: Prompt | None) -> Asked:
        """Reads a prompt, or without one the question what the user is like, up to where the answer begins.

        Raises:
            LimitError: There is no room for an answer.
        """
        scoring, parts = self.scoring, self.scoring.parts
        template = parts.template
        with parts.reading():
            if prompt is None:
                question = template.describe()
            else:
                question = np.concatenate([template.question(prompt), template.opening()])
            around = len(question) + len(template.response("", "")) - len(template.opening())
            before, start = len(question) - 1, state.next
            head, layout = token_rows([question[:-1]], start, width=bucket(before, 16), group=1, branch=0)
            check_length("the prompt and one token", state.size, around + 1, parts.form)
            read = parts.read(head)
        params, first, last = (scoring.params, scoring.frozen), question[-1], np.int32(start + before)
        if parts.lower and prompt is not None:
            opening, first = parts.lower.opening(prompt, int(last))
            params += (opening,)
        past = scoring.reader.key_values(state)
        asked = self._ask(scoring.params, scoring.frozen, past, read, layout)
        reads = tuple(
            Read((context, own), np.int32(first), last) for context, own in zip(past, asked, strict=True)
        )
        return Asked(params, reads, parts.form.length - state.size - around)

    def networks(self, params: tuple[Any, ...]) -> list[Network]:
        """The networks of policy and reference, from `Asked.params`. Pure."""
        parts, (trained, frozen, *opening) = self.scoring.parts, params
        networks = [parts.model.bind(decoder) for decoder in self.scoring.reader.decoders(trained, frozen)]
        if parts.lower and opening:
            lower = parts.lower.network(opening[0].params)
            return [SplitDecoder(lower, upper, opening[0]) for upper in networks]
        return list(networks)

    def begin(self, state: ContextState, prompt: Prompt | None, sampling: Sampling) -> Draft:
        """An empty answer of the policy to a prompt, or without one to the question what the user is like."""
        asked = self.ask(state, prompt)
        sampling = sampling._replace(max_tokens=min(sampling.max_tokens, asked.room))
        return self.drafting.begin(asked.params, asked.reads[:1], sampling)

    @property
    def dtype(self) -> Any:
        """Type of the computation."""
        return COMPUTE[self.scoring.parts.model.config.compute]

    def drafting_of(
        self, networks: Callable[[Any], Sequence[Network]], mix: Callable[..., jax.Array] | None = None
    ) -> Drafting:
        """Writes drafts in the tokens of this reward's model."""
        parts = self.scoring.parts
        ends = (parts.end_token, *parts.model.architecture.end_tokens)
        allowed = allowed_tokens(parts.model.architecture.vocabulary, parts.tokenizer.is_text, ends)
        given = {} if mix is None else {"mix": mix}
        return Drafting(networks, allowed, ends, parts.tokenizer.decode, self.dtype, **given)

    @functools.cached_property
    def drafting(self) -> Drafting:
        """Writes with the policy alone."""
        return self.drafting_of(lambda params: self.networks(params)[:1])

    @functools.cached_property
    def _ask(self) -> Any:
        @jax.jit
        def ask(
            params: Params,
            frozen: Params,
            past: tuple[KeyValues, ...],
            tokens: jax.Array,
            layout: TokenLayout,
        ) -> list[KeyValues]:
            decoders = self.scoring.reader.decoders(params, frozen)
            return [
                self.scoring.parts.model.prefill(decoder, tokens, layout, context)
                for decoder, context in zip(decoders, past, strict=True)
            ]

        return ask


def _chat_writer(writer: Any) -> Any:
    """The model that goes on with drafts of a writer. A wrapper that does not name it may change what is written."""
    named = hasattr(type(writer), "continued_by")  # of the type, as a wrapper may pass all names on
    return _chat_writer(writer.continued_by) if named else writer


@dataclass(frozen=True, eq=False)
class PolicyWriter:
    """The user's own policy: the meta-trained language model after the user's context."""

    writing: InContextWriting
    state: ContextState
    continues = True

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        return self.writing.begin(self.state, prompt, sampling)

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        return self.writing.drafting.continuations(draft, n, tokens)


@dataclass(frozen=True, eq=False)
class GuidedWriter:
    """A model to whose logits the policy's log-ratio to the reference is added, with a strength.

    Attributes:
        writing, state: Of the user.
        writer: The model, perhaps with examples; None for the reference itself, after the same context.
        strength: Factor of the log-ratio.

    Source: Liu et al. (2024), Tuning language models by proxy, arXiv 2401.08565, with a strength.
    """

    writing: InContextWriting
    state: ContextState
    writer: Writer | None
    strength: float
    continues = True

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        asked = self.writing.ask(self.state, prompt)
        sampling = sampling._replace(max_tokens=min(sampling.max_tokens, asked.room))
        params: Any = asked.params
        reads: tuple[Read, ...] = asked.reads
        if self.writer is not None:
            own = self.writer.begin(prompt, sampling)
            sampling = sampling._replace(max_tokens=own.room)
            params, reads = (own.state.params, params), (*own.state.reads, *reads)
        return self._drafting.begin(params, reads, sampling, self.strength)

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        return self._drafting.continuations(draft, n, tokens)

    @functools.cached_property
    def _drafting(self) -> Drafting:
        writing, writer = self.writing, _chat_writer(self.writer)
        if writer is None:

            def mixed(logits: Sequence[jax.Array], strength: jax.Array) -> jax.Array:
                reference = jax.nn.log_softmax(logits[1]) if len(logits) > 1 else 0.0
                return reference + strength * log_ratio(logits)

            return writing.drafting_of(writing.networks, mixed)
        ids = jnp.asarray(ids_in_reward(writing, writer.model.architecture.vocabulary))
        own = writer.drafting

        def added(logits: Sequence[jax.Array], strength: jax.Array) -> jax.Array:
            ratio = log_ratio(logits[1:])
            return logits[0] + strength * jnp.where(ids == SILENT, 0.0, ratio[:, ids])

        def networks(params: Any) -> list[Network]:
            return [*own.networks(params[0]), *writing.networks(params[1])]

        return Drafting(networks, own.allowed, own.end_tokens, own.decode, own.dtype, added)
