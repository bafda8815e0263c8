"""The lower layers of a decoder read every text by itself: a response behind its own prompt, as a turn of a chat.

They know no user and are never trained, so what they compute of a text is computed once, kept on disk and in memory,
and gathered into the rows that the upper layers read. A row is written as places: a place is one token of one text,
with what the user said of it. Memory is bounded, so places hold within one block of `reading` only.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from fspo_jax.errors import LimitError
from fspo_jax.models.features.cache import TextCache
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.files import flat_params
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.language.split_decoder import LowerOpening, lower_network, lower_program
from fspo_jax.text.chat import ChatFormat
from fspo_jax.text.packing import Context, Tree, grow_tree, pack_trees, padded_size
from fspo_jax.text.templates import MARKS
from fspo_jax.text.token_rows import token_rows
from fspo_jax.text.tokenizer import TextTokenizer
from fspo_jax.types import Prompt, ReadTexts, RowFormat, TokenLayout

VERSION = 1
"""Part of the fingerprint. Raise it whenever a state changes."""

BLOCK = 16
"""Number of tokens whose states are one entry of the cache on disk."""

ROW = 256
"""Number of tokens of a row; more where a prompt with one response is longer, fewer where all texts need fewer."""

LEAST = 64
"""Least number of tokens of a row: the few drafts of one call are most often short."""

BATCH = 4
"""Number of rows that are computed at a time."""

LONGEST = 2048
"""Most tokens of a text: memory and time grow with its square, and no sender of texts may fill them."""

MEMORY = 1 << 30
"""Bytes of states in memory above which the texts that were used longest ago are dropped."""

Piece = tuple[Prompt, str | None]
"""A response with its prompt; or, with None, what stands before any response to the prompt."""

Pooled = tuple[Prompt, str | None, int]
"""A piece, and the number of neighbouring tokens that share a place."""

FIRST: Pooled = ("", None, 1)
"""What stands before every prompt. Its places never change."""

_log = logging.getLogger(__name__)


class LowerLayers:
    """States of texts after the lower layers of a decoder. Threads may share it.

    What was read stays in memory, 2 D bytes a token, up to `memory` bytes and what one block of `reading` needs.

    Args:
        architecture: Architecture of the whole decoder.
        layers: Number of lower layers.
        params: Parameters of the whole decoder; only those of the lower layers are kept.
        tokenizer: Of the decoder.
        chat: Its chat format.
        cache: Directory of the cache on disk; None for none.
        memory: Bytes of states in memory.

    Attributes:
        fingerprint: Changes whenever a state changes.
    """

    def __init__(
        self,
        architecture: Architecture,
        layers: int,
        params: Any,
        tokenizer: TextTokenizer,
        chat: ChatFormat,
        cache: Path | None,
        memory: int = MEMORY,
    ):
        self._architecture, self._layers, self._tokenizer, self._chat = architecture, layers, tokenizer, chat
        self._params = {"embedding": params["embedding"], "norm": params["norm"]} | {
            "layers": jax.tree.map(lambda leaf: leaf[:layers], params["layers"])
        }
        digest = hashlib.sha256(
            f"{VERSION} {layers} {chat.opening('?').tolist()} {tokenizer.fingerprint}".encode()
        )
        for path, leaf in sorted(flat_params(self._params).items()):
            digest.update(str(path).encode() + np.asarray(leaf).tobytes())
        self.fingerprint = digest.hexdigest()[:16]
        self._lock, self._blocks_open = threading.RLock(), 0
        self._limit = memory // (2 * architecture.width)
        self._pieces: dict[Pooled, slice] = {}  # the one used longest ago first
        self._used = 0
        self._ids, self._states = np.zeros(0, np.int32), np.zeros((0, architecture.width), np.float16)
        self._waiting = {FIRST: self._place(FIRST, self._tokens(FIRST[:2]))}
        width = BLOCK * architecture.width
        self._cache = (
            TextCache(cache, f"lower-{self.fingerprint}", width, self._blocks, dtype=np.float16)
            if cache
            else None
        )

    @property
    def end(self) -> int:
        """The token that ends a response."""
        return self._architecture.end_tokens[0]

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Within this block places hold, and no other thread reads. At its end texts may be dropped."""
        with self._lock:
            self._blocks_open += 1
            try:
                yield
            finally:
                self._blocks_open -= 1
                if not self._blocks_open and self._used > self._limit:
                    self._drop_old()

    def places(self, prompt: Prompt, response: str | None, mark: int, pool: int = 1) -> np.ndarray:
        """Returns the places `int32 [n]` of a text's tokens.

        Args:
            prompt: The prompt.
            response: The response, whose end is a token too; None for the prompt itself, without what stands before
                every prompt.
            mark: One of `MARKS`.
            pool: Number of neighbouring tokens that share a place with the mean of their states. The end of a response
                has a place of its own.
        """
        piece = (prompt, response, pool)
        with self.reading():
            if piece not in self._pieces:
                tokens = self._tokens((prompt, response))
                tokens = tokens[[*range(pool - 1, len(tokens) - 1, pool), *_last(len(tokens), pool)]]
                self._waiting[piece] = self._place(piece, tokens)
            span = self._pieces[piece] = self._pieces.pop(piece)  # used last
            if response is None:
                span = slice(span.start + self._shared(span), span.stop)
        return (np.arange(span.start, span.stop) * len(MARKS) + mark).astype(np.int32)

    @property
    def first(self) -> np.ndarray:
        """The place of the first token of every prompt, `int32 [1]`."""
        return np.array([self._pieces[FIRST].start * len(MARKS)], np.int32)

    def _shared(self, span: slice) -> int:
        """How many first tokens an opening shares with that of an empty prompt, at most all but the last."""
        tokens, empty = self._ids[span], self._ids[self._pieces[FIRST]]
        size = min(len(tokens), len(empty)) - 1
        return int(np.argmin(np.append(tokens[:size] == empty[:size], False)))

    def vocabulary(self, places: np.ndarray) -> np.ndarray:
        """Returns the tokens at places."""
        return self._ids[places // len(MARKS)]

    def read(self, places: np.ndarray) -> ReadTexts:
        """Returns what the upper layers read of places, of any shape. Texts that are new are read in one batch."""
        with self.reading():
            self.prepare([places])
            where = places // len(MARKS)
            return ReadTexts(self._states[where], (places % len(MARKS)).astype(np.int32), self._ids[where])

    def prepare(self, arrays: Sequence[np.ndarray]) -> None:
        """Reads the texts of places, of any shapes, in one batch. Texts that only have places are not read."""
        with self._lock:
            asked = np.zeros(self._used, bool)
            for places in arrays:
                asked[places // len(MARKS)] = True
            needed = {piece: span for piece, span in self._waiting.items() if asked[span].any()}
            found = self._read_all(list(dict.fromkeys((prompt, text) for prompt, text, _ in needed)))
            for piece, span in needed.items():
                self._states[span] = _pooled(found[piece[:2]], piece[2])
                del self._waiting[piece]

    def _place(self, piece: Pooled, tokens: np.ndarray) -> slice:
        """Gives places to a piece."""
        span = self._pieces[piece] = slice(self._used, self._used + len(tokens))
        self._grow(span.stop)
        self._ids[span], self._used = tokens, span.stop
        return span

    def _drop_old(self) -> None:
        """Keeps the first piece and those that were used last, in half of the room."""
        pieces, waiting, ids, states = self._pieces, self._waiting, self._ids, self._states
        kept, room = [], self._limit // 2
        for piece in reversed(pieces):
            room -= pieces[piece].stop - pieces[piece].start
            if room < 0:
                break
            kept.append(piece)
        self._pieces, self._waiting, self._used = {}, {}, 0
        self._ids, self._states = ids[:0], states[:0]
        for piece in dict.fromkeys([FIRST, *reversed(kept)]):
            span = self._place(piece, ids[pieces[piece]])
            if piece in waiting:
                self._waiting[piece] = span
            else:
                self._states[span] = states[pieces[piece]]

    def _grow(self, size: int) -> None:
        if size > len(self._ids):
            more = max(size, 2 * len(self._ids), 1024) - len(self._ids)
            self._ids = np.concatenate([self._ids, np.zeros(more, np.int32)])
            self._states = np.concatenate([self._states, np.zeros((more, self._states.shape[1]), np.float16)])

    def _tokens(self, piece: Piece) -> np.ndarray:
        prompt, response = piece
        if response is None:
            tokens = self._chat.opening(prompt)
        else:
            tokens = np.append(self._tokenizer.encode([response])[0], np.int32(self.end))
        most = min(self._architecture.positions, LONGEST)
        if len(tokens) > most:
            raise LimitError(
                f"{'the prompt' if response is None else 'a response'} has {len(tokens):,} tokens; this language model "
                f"reads {most:,}. Shorten it: texts are never cut silently."
            )
        return tokens

    def _read_all(self, pieces: Sequence[Piece]) -> dict[Piece, np.ndarray]:
        """Returns the states of pieces, from the cache on disk if there is one."""
        if self._cache is None:
            return self._compute(pieces) if pieces else {}
        counts = {piece: -(-len(self._tokens(piece)) // BLOCK) for piece in pieces}
        found: dict[Piece, np.ndarray] = {}
        order = sorted(
            pieces, key=lambda piece: str(piece[0])
        )  # responses to one prompt are computed together
        for first in range(0, len(order), 256):
            part = order[first : first + 256]
            blocks = [(*piece, i) for piece in part for i in range(counts[piece])]
            rows = self._cache.rows(blocks).reshape(len(blocks) * BLOCK, -1)
            start = 0
            for piece in part:
                size = len(self._tokens(piece))
                found[piece] = rows[start : start + size]
                start += counts[piece] * BLOCK
            if len(order) > 1024 and first % 1024 == 0:
                _log.info("lower layers: %s of %s texts read", f"{first:,}", f"{len(order):,}")
        return found

    def _blocks(self, blocks: list[tuple[Prompt, str | None, int]]) -> np.ndarray:
        """Computes entries of the cache on disk."""
        pieces = list(dict.fromkeys((prompt, response) for prompt, response, _ in blocks))
        states = self._compute(pieces)
        made = np.zeros((len(blocks), BLOCK, self._architecture.width), np.float16)
        for row, (prompt, response, i) in zip(made, blocks, strict=True):
            part = states[prompt, response][i * BLOCK : (i + 1) * BLOCK]
            row[: len(part)] = part
        return made.reshape(len(blocks), -1)

    def _compute(self, pieces: Sequence[Piece]) -> dict[Piece, np.ndarray]:
        """Computes the states of pieces. A prompt stands once in a row, with responses to it as branches."""
        asked: dict[Prompt, list[str]] = {}
        for prompt, response in pieces:
            asked.setdefault(prompt, []).extend([] if response is None else [response])
        openings = {prompt: self._tokens((prompt, None)) for prompt in asked}
        answers = {
            prompt: [self._tokens((prompt, text)) for text in texts] for prompt, texts in asked.items()
        }
        end = np.array([self.end], np.int32)
        longest = max(
            len(openings[prompt]) + max(map(len, those), default=1) for prompt, those in answers.items()
        )
        together = sum(len(openings[prompt]) + sum(map(len, those)) for prompt, those in answers.items())
        needed = max(together + len(answers), longest)  # a prompt without responses has an end behind it
        length = padded_size(needed, LEAST) if needed <= ROW else ROW * -(-longest // ROW)
        trees: list[tuple[Tree, Prompt, list[int]]] = []
        for prompt, those in answers.items():
            for part in _parts(len(openings[prompt]), [*map(len, those)], length):
                trees.append((_tree(openings[prompt], [those[i] for i in part] or [end]), prompt, part))
        numbered = [(tree, e, list(range(len(tree.ends)))) for e, (tree, _, _) in enumerate(trees)]
        form = RowFormat(length, "parallel", 0, least=(1, length, 1))
        packing = pack_trees(numbered, [len(tree.ends) for tree, _, _ in trees], form, 0, 0)
        states = self._run(packing.rows.tokens, packing.rows.layout)
        found: dict[Piece, np.ndarray] = {}
        for (tree, prompt, part), places in zip(trees, packing.places, strict=True):
            size = len(openings[prompt])
            row = states[places[0, 0]]
            start = int(packing.rows.ends[*places[0], 0]) - int(tree.ends[0, 0])
            found[prompt, None] = row[start : start + size]
            start += size
            for i in part:
                text, count = asked[prompt][i], len(answers[prompt][i])
                found[prompt, text] = row[start : start + count]
                start += count
        return found

    def _run(self, tokens: np.ndarray, layout: TokenLayout) -> np.ndarray:
        program = lower_program(self._architecture, self._layers)
        states = np.zeros((*tokens.shape, self._architecture.width), np.float16)
        for start in range(0, len(tokens), BATCH):
            here = slice(start, min(start + BATCH, len(tokens)))
            count = here.stop - start
            pad = [(0, padded_size(count, 1) - count), (0, 0)]
            part, *leaves = (np.pad(leaf[here], pad) for leaf in (tokens, *layout))
            states[here] = np.asarray(program(self._params, part, TokenLayout(*leaves)))[:count]
        return states

    def opening(self, prompt: Prompt, last: int) -> tuple[LowerOpening, int]:
        """Reads what stands before a response to a prompt.

        Args:
            prompt: The prompt.
            last: Position of its last token.

        Returns:
            What was read, without the last token; and this token.
        """
        *before, token = self._tokens((prompt, None)).tolist()
        row, layout = token_rows(
            [np.array(before, np.int32)],
            last - len(before),
            width=padded_size(len(before), LEAST),
            group=0,
            branch=0,
        )
        past = lower_program(self._architecture, self._layers)(self._params, row, layout, keep=True)
        return LowerOpening(self._params, past, np.int32(last)), token

    def network(self, params: Any) -> Decoder:
        """The lower layers with these parameters. Pure."""
        return lower_network(self._architecture, self._layers)(params)


def _last(size: int, pool: int) -> list[int]:
    """The last tokens of the last places of a text: of a group that is not full, and of the end."""
    return [size - 2, size - 1] if (size - 1) % pool else [size - 1]


def _pooled(states: np.ndarray, pool: int) -> np.ndarray:
    """Means of the states of each group of `pool` tokens, then the state of the end."""
    if pool == 1:
        return states
    text = states[:-1].astype(np.float32)
    starts = np.arange(0, len(text), pool)
    means = np.add.reduceat(text, starts) / np.diff([*starts, len(text)])[:, None] if len(text) else text
    return np.concatenate([means.astype(np.float16), states[-1:]])


def _parts(prompt: int, sizes: Sequence[int], room: int) -> list[list[int]]:
    """Divides responses of these sizes into parts that each fit into a row behind a prompt of so many tokens."""
    parts: list[list[int]] = [[]]
    used = prompt
    for i, size in enumerate(sizes):
        if used + size > room and parts[-1]:
            parts.append([])
            used = prompt
        parts[-1].append(i)
        used += size
    return parts


def _tree(prompt: np.ndarray, responses: Sequence[np.ndarray]) -> Tree:
    """The prompt, then the responses, each of which sees the prompt and itself."""
    zeros = np.zeros(len(prompt), np.int32)
    context = Context(prompt, np.arange(len(prompt)), zeros, len(prompt), 0)
    nothing = np.zeros(0, np.int32)
    return grow_tree(context, [(nothing, (response,)) for response in responses])
