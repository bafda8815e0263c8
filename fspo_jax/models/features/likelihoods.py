"""How likely responses are under a language model, after a prompt in its chat format.

Responses to one prompt stand in one row of tokens, with the prompt once, and do not see each other.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.files import weight_digest
from fspo_jax.models.language.chat_model import ChatModel
from fspo_jax.models.language.decoder.log_probabilities import token_log_probabilities
from fspo_jax.models.precision import in_float32
from fspo_jax.text.packing import Context, Tree, grow_tree, pack_trees, padded_size
from fspo_jax.types import PackedRows, Prompt, RowFormat, TokenLayout

VERSION = 1
"""Part of the fingerprint. Raise it whenever a likelihood changes."""

ROWS = (128, 256, 512)
"""Numbers of tokens of a row. Short rows are faster. The longest holds the longest prompt with the longest response."""

RESPONSE_TOKENS = 256
"""Largest number of tokens of a response that are read."""

PROMPT_TOKENS = 256
"""Number of tokens before a response. Of a longer prompt the last ones are read."""

BATCH = 4
"""Number of rows that are computed at a time."""


class Likelihoods:
    """Mean log-probabilities of responses under a language model. Immutable, so threads may share it.

    Its weights are read when they are first needed.

    Args:
        model: What `find_model` takes.
        cache: Directory in which `find_model` keeps models; None for the user's.
        allow_download: Whether the hub may be asked.

    Attributes:
        fingerprint: Changes whenever a likelihood changes.

    Raises:
        EncoderError: The model is missing (the message says how to get it), damaged, or not supported.
    """

    def __init__(self, model: str, *, cache: str | Path | None = None, allow_download: bool = False):
        self._model = ChatModel(model, cache=cache, allow_download=allow_download, error=EncoderError)
        parts = (
            weight_digest(self._model.directory),
            (self._model.directory / "config.json").read_text(encoding="utf-8"),
            self._model.tokenizer.fingerprint,
            str(self._model.chat.opening("?").tolist()),
            f"{VERSION} {PROMPT_TOKENS}",
        )
        self.fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def prompts(self, prompts: Sequence[Prompt], instruction: str = "") -> list[bytes]:
        """Returns the tokens before the answer to each prompt, as bytes, because equal ones are computed once.

        Args:
            prompts: N prompts.
            instruction: Added to the last turn of the user.
        """
        made = {
            prompt: self._model.chat.opening(prompt, instruction)[-PROMPT_TOKENS:].tobytes()
            for prompt in dict.fromkeys(prompts)
        }
        return [made[prompt] for prompt in prompts]

    def responses(self, texts: Sequence[str], tokens: int) -> list[bytes]:
        """Returns the first `tokens` tokens of each text, as bytes; of an empty text, the end of an answer."""
        end = np.array(self._model.architecture.end_tokens[:1], np.int32)
        return [
            (found[:tokens] if len(found) else end).astype(np.int32).tobytes()
            for found in self._model.tokenizer.encode(texts)
        ]

    def means(self, prompts: Sequence[bytes], responses: Sequence[bytes]) -> np.ndarray:
        """Returns the mean log-probability of the tokens of each response, `float32 [N]`, in nats.

        Args:
            prompts: N results of `prompts`, not empty.
            responses: N results of `responses`.
        """
        asked: dict[bytes, list[bytes]] = {}
        for prompt, response in dict.fromkeys(zip(prompts, responses, strict=True)):
            asked.setdefault(prompt, []).append(response)
        sizes = [len(prompt + response) // 4 for prompt, those in asked.items() for response in those]
        length = _row_length(max(sizes, default=1), sum(sizes))
        trees = [
            (prompt, part)
            for prompt, those in asked.items()
            for part in _parts(len(prompt) // 4, those, length)
        ]
        grown = [
            _tree(np.frombuffer(p, np.int32), [np.frombuffer(r, np.int32) for r in rs]) for p, rs in trees
        ]
        form = RowFormat(length, "parallel", 0, least=(1, length // 2, 1))
        pairs = [list(range(len(tree.ends))) for tree in grown]
        numbered = [(tree, e, chunk) for e, (tree, chunk) in enumerate(zip(grown, pairs, strict=True))]
        packing = pack_trees(numbered, [len(chunk) for chunk in pairs], form, 0, 0)
        sums = self._sums(packing.rows)
        found = {}
        for (prompt, those), places in zip(trees, packing.places, strict=True):
            for i, response in enumerate(those):
                row, pair = places[i // 2]
                found[prompt, response] = sums[row, 2 * pair + i % 2] / (len(response) // 4)
        return np.array([found[item] for item in zip(prompts, responses, strict=True)], np.float32)

    def _sums(self, rows: PackedRows) -> np.ndarray:
        """Summed log-probability of each response, `float64 [R, 2 P + 1]`; the last one is padding."""
        height = len(rows.tokens)
        sums = np.zeros((height, 2 * rows.ends.shape[1] + 1))
        for start in range(0, height, BATCH):
            here = slice(start, min(start + BATCH, height))
            count = here.stop - start
            pad = [(0, padded_size(count, 1) - count), (0, 0)]
            read = (rows.tokens, *rows.layout, rows.predictors, rows.targets)
            tokens, *layout, predictors, targets = (np.pad(leaf[here], pad) for leaf in read)
            tokens = self._program(self._model.params, tokens, TokenLayout(*layout), predictors, targets)
            for row, values in enumerate(np.asarray(tokens)[:count], start=start):
                np.add.at(sums[row], rows.owners[row], values)
        return sums

    @functools.cached_property
    def _program(self) -> Any:
        bind, softcap = self._model.network, self._model.architecture.logit_softcap

        @jax.jit
        @in_float32
        def log_probabilities(
            params: Any, tokens: jax.Array, layout: TokenLayout, predictors: jax.Array, targets: jax.Array
        ) -> jax.Array:
            network = bind(params)
            hidden, _ = network(tokens, layout)
            states = jnp.take_along_axis(hidden, predictors[..., None], axis=1)
            flat = states.reshape(-1, states.shape[-1]), network.output_matrix(), targets.reshape(-1)
            return token_log_probabilities(*flat, softcap=softcap).reshape(targets.shape)

        return log_probabilities


def _row_length(longest: int, total: int) -> int:
    """The length of rows for items of at most `longest` tokens and of `total` tokens."""
    return next((size for size in ROWS if total <= size or (longest <= size and size > ROWS[0])), ROWS[-1])


def _parts(prompt: int, responses: Sequence[bytes], room: int) -> list[list[bytes]]:
    """Divides responses to a prompt of so many tokens into parts that each fit into a row."""
    parts: list[list[bytes]] = []
    used = room
    for response in sorted(responses, key=len):
        size = len(response) // 4 + 1  # a token of the prompt stands before every two of them
        if used + size > room:
            parts.append([])
            used = prompt
        parts[-1].append(response)
        used += size
    return parts


def _tree(prompt: np.ndarray, responses: Sequence[np.ndarray]) -> Tree:
    """The prompt, then its responses in pairs, each after the last token of the prompt."""
    ahead, last = prompt[:-1], prompt[-1:]
    zeros = np.zeros(len(ahead), np.int32)
    context = Context(ahead, np.arange(len(ahead)), zeros, len(ahead), 0)
    pairs = [tuple(responses[i : i + 2]) for i in range(0, len(responses), 2)]
    return grow_tree(context, [(last, pair) for pair in pairs])
