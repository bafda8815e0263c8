"""A pretrained language model that writes responses in its chat format."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fspo_jax.arguments import check_integer
from fspo_jax.errors import LimitError, counted
from fspo_jax.models.language.chat_model import ChatModel
from fspo_jax.models.language.decoder.attention import KeyValues
from fspo_jax.models.language.decoder.sampling import Read
from fspo_jax.models.language.drafting import Drafting, allowed_tokens
from fspo_jax.text.packing import padded_size
from fspo_jax.text.token_rows import token_rows
from fspo_jax.types import Draft, Prompt, Sampling, TokenLayout


@dataclass(frozen=True, eq=False)
class ChatWriter:
    """Writes with a pretrained model; made by `load_writer`. Threads may share it.

    It is also a generator for `best_of_n`: `writer(prompt, n)` gives n responses.

    Attributes:
        model: The model.
    """

    model: ChatModel
    continues = True

    def __call__(self, prompt: Prompt, n: int) -> list[str]:
        n = check_integer(n, "n", 1)
        draft = self.begin(prompt, Sampling())
        return [written.text for written in self.continuations(draft, n, draft.room)]

    def begin(self, prompt: Prompt, sampling: Sampling) -> Draft:
        """As `Writer.begin`. Responses are cut where the model's positions end.

        Raises:
            LimitError: The prompt leaves no room for a response.
        """
        read = self.read(prompt)
        room = self.model.architecture.positions - int(read.start) - 1
        sampling = sampling._replace(max_tokens=min(sampling.max_tokens, room))
        return self.drafting.begin(self.model.params, [read], sampling)

    def continuations(self, draft: Draft, n: int, tokens: int) -> list[Draft]:
        """As `Writer.continuations`."""
        return self.drafting.continuations(draft, n, tokens)

    def read(self, prompt: Prompt) -> Read:
        """Reads a prompt, up to where the response begins."""
        tokens, most = self.model.chat.opening(prompt), self.model.architecture.positions
        if len(tokens) >= most:
            raise LimitError(
                f"the prompt has {counted(len(tokens), 'token')}; this model reads {most:,} with its response. "
                "Shorten it: texts are never cut silently."
            )
        before = len(tokens) - 1
        row = token_rows([tokens[:-1]], 0, width=padded_size(before, 16), group=1, branch=0)
        return Read((self._prefill(self.model.params, *row),), tokens[-1], np.int32(before))

    @functools.cached_property
    def drafting(self) -> Drafting:
        """Writes one draft after another."""
        model = self.model
        ends = model.architecture.end_tokens
        allowed = allowed_tokens(model.architecture.vocabulary, model.tokenizer.is_text, ends)
        return Drafting(lambda params: [model.network(params)], allowed, ends, model.tokenizer.decode)

    @functools.cached_property
    def _prefill(self) -> Any:
        @jax.jit
        def prefill(params: Any, tokens: jax.Array, layout: TokenLayout) -> KeyValues:
            _, kept = self.model.network(params)(tokens, layout, keep=True)
            assert kept is not None
            return kept

        return prefill


def load_writer(
    model: str | Path, *, cache: str | Path | None = None, allow_download: bool = False
) -> ChatWriter:
    """Loads a language model that writes responses, for `UserReward.generate` and `best_of_n`.

    Args:
        model: A directory with `config.json`, tokenizer and safetensors; a GGUF file; `"smollm2-135m"` or
            `"gemma-3-270m"`, from packages of the Python index; or an id on the hub.
        cache: Directory in which models are unpacked; None for the user's.
        allow_download: Whether the hub may be asked.

    Raises:
        CheckpointError: The model is missing (the message says how to get it), damaged, or not supported.

    Example:
        >>> load_writer("no-such-model")
        Traceback (most recent call last):
        ...
        fspo_jax.errors.CheckpointError: 'no-such-model' is not a directory, ...
    """
    return ChatWriter(ChatModel(model, cache=cache, allow_download=allow_download))
