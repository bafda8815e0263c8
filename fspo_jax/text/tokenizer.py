"""Turns text into tokens. No text can produce a token that marks structure.

The ids of structure tokens follow those of the tokenizer's vocabulary, so the tokenizer cannot return them. The names
of the checkpoint's own special tokens (end of text, roles) are read as plain text. Every text can be read back from its
tokens, up to the Unicode normalisation of the checkpoint's makers. Tokenizers of the SentencePiece kind read `▁` as a
space. Where a vocabulary has no tokens for some rare character, it is read as U+FFFD (SmolLM2: six control characters).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.errors import CheckpointError
from fspo_jax.text.advice import without_advice
from fspo_jax.text.definition import plain_definition, with_settings

STRUCTURE = (
    "<shot>", "<prompt>", "<chosen>", "<rejected>", "<end>",
    "<describe>", "<system>", "<user>", "<assistant>", "<role>",
)  # fmt: skip
"""Structure tokens. The i-th, counted from 0, has the id `text_tokens + i`."""

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
OLDER = ("tokenizer.model", "vocab.json")

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
"""Names of the tokens of bytes, in tokenizers of the SentencePiece kind."""

PROBE = " A b\n\n\t  <b>\x01é你\U0001f600\U000f0000 "
"""A text that a tokenizer changes, if it changes any."""


class TextTokenizer:
    """A tokenizer of the `tokenizers` library, extended by structure tokens.

    Args:
        definition: Content of its `tokenizer.json`.

    Attributes:
        text_tokens: Number of ids of the vocabulary. The ids of structure tokens begin here.
        size: Number of all ids.
        is_text: `bool [text_tokens]`, whether a text can contain the id.
        beginning: `int32 [n]`, what the tokenizer puts before a text, such as a beginning-of-text token.
        structure: Structure token to id.
        fingerprint: Hash of the definition.

    Raises:
        CheckpointError: The definition is damaged, or texts cannot be read back from its tokens.
    """

    def __init__(self, definition: str):
        from tokenizers import Tokenizer

        self._definition = definition
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()[:16]
        try:
            plain = plain_definition(definition)
            self._prefix = plain.prefix
            self._tokenizer = Tokenizer.from_str(plain.text)
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            self._tokenizer.encode_special_tokens = True
            vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
            self.text_tokens = max(vocabulary.values()) + 1
            self.size = self.text_tokens + len(STRUCTURE)
            self.structure = {name: self.text_tokens + i for i, name in enumerate(STRUCTURE)}
            self.is_text = np.zeros(self.text_tokens, bool)
            self.is_text[list(set(vocabulary.values()) - plain.markers)] = True
            self._bytes = frozenset(vocabulary[name] for name in BYTES if name in vocabulary)
            self.beginning = self._read_beginning()
            self._unwritable = self._read_unwritable()
            found = self.decode(self.encode([PROBE])[0].tolist())
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the library is no Exception
            raise CheckpointError(f"{FILE} cannot be read ({error!r}).") from None
        if found != PROBE:
            raise CheckpointError(
                f"the tokenizer loses text: {PROBE!r} is read back as {found!r}. Use a checkpoint with a tokenizer "
                "that keeps every text, with bytes for unknown characters."
            )

    @classmethod
    def load(cls, directory: str | Path) -> TextTokenizer:
        """Reads the tokenizer of a checkpoint directory.

        It is in `tokenizer.json`, and in `tokenizer_config.json` if there is one. The files of older checkpoints,
        `tokenizer.model` or `vocab.json`, are read through transformers.

        Raises:
            CheckpointError: There is no tokenizer, or it is not as `TextTokenizer` needs it.
        """
        path = Path(directory)
        try:
            if not (path / FILE).is_file() and any((path / name).is_file() for name in OLDER):
                definition = _converted(path)
            else:
                definition = (path / FILE).read_text(encoding="utf-8")
                settings = path / SETTINGS
                if settings.is_file():
                    definition = with_settings(definition, json.loads(settings.read_text(encoding="utf-8")))
            return cls(definition)
        except OSError as error:
            raise CheckpointError(
                f"{directory}: cannot read {FILE} ({error}). Give a directory that contains it."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{directory}: {FILE} or {SETTINGS} cannot be read ({error!r}).") from None
        except CheckpointError as error:
            raise CheckpointError(f"{directory}: {error}") from None

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> TextTokenizer:
        """Learns a byte-level BPE of at most `vocabulary` ids from texts. Every text can be encoded."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer.to_str())

    def save(self, directory: str | Path) -> None:
        """Writes `tokenizer.json`."""
        (Path(directory) / FILE).write_text(self._definition, encoding="utf-8")

    @property
    def definition(self) -> str:
        """Content of `tokenizer.json`; `TextTokenizer(definition)` makes an equal tokenizer."""
        return self._definition

    @property
    def rows(self) -> int:
        """Number of rows that the embedding needs for texts and their beginning."""
        return int(max(np.flatnonzero(self.is_text).max(initial=-1), self.beginning.max(initial=-1))) + 1

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, `int32`. Each of them is text."""
        read = [self._prefix + text if text else "" for text in texts]
        if self._unwritable:
            read = [self._unwritable.sub("\ufffd", text) for text in read]
        encoded = self._tokenizer.encode_batch_fast(read, add_special_tokens=False)
        return [self._plain(text, item.ids) for text, item in zip(read, encoded, strict=True)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Turns ids back into text, without those that are not text."""
        kept = [t for t in tokens if t < self.text_tokens and self.is_text[t]]
        return self._tokenizer.decode(kept, skip_special_tokens=False).removeprefix(self._prefix)

    def _plain(self, text: str, ids: list[int]) -> np.ndarray:
        """Replaces markers, and bytes that a text spells out such as `<0x41>`, by the tokens of their characters."""
        spelled = bool(self._bytes) and "<0x" in text
        if self.is_text[ids].all() and not spelled:
            return np.array(ids, np.int32)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        pieces: list[int] = []
        for token, name, (start, end) in zip(encoding.ids, encoding.tokens, encoding.offsets, strict=True):
            if self.is_text[token] and not (token in self._bytes and text[start:end] == name):
                pieces.append(token)
                continue
            for character in text[start:end]:
                pieces += self._tokenizer.encode(character, add_special_tokens=False).ids
        return np.array([p for p in pieces if self.is_text[p]], np.int32)

    def _read_beginning(self) -> np.ndarray:
        with_beginning = self._tokenizer.encode("a").ids
        text = self._tokenizer.encode("a", add_special_tokens=False).ids
        for start in range(len(with_beginning)):
            if with_beginning[start : start + len(text)] == text:
                return np.array(with_beginning[:start], np.int32)
        return np.zeros(0, np.int32)

    def _read_unwritable(self) -> re.Pattern[str] | None:
        """Finds the ranges of characters whose first byte in UTF-8 has no token."""
        ranges = [(point, point) for point in range(0x80)]
        for first, end, bits, least in (
            (0xC2, 0xE0, 6, 0x80),
            (0xE0, 0xF0, 12, 0x800),
            (0xF0, 0xF5, 18, 0x10000),
        ):
            starts = [(byte - (first & 0xF0)) << bits for byte in range(first, end)]
            ranges += [(max(s, least), min(s + (1 << bits) - 1, 0x10FFFF)) for s in starts]
        encoded = self._tokenizer.encode_batch_fast(
            [chr(first) for first, _ in ranges], add_special_tokens=False
        )
        read = self._tokenizer.decode_batch([item.ids for item in encoded], skip_special_tokens=False)
        lost = [
            f"{re.escape(chr(first))}-{re.escape(chr(last))}"
            for (first, last), text in zip(ranges, read, strict=True)
            if "\ufffd" in (text or "\ufffd")
        ]
        return re.compile("[" + "".join(lost) + "]") if lost else None


def _converted(directory: Path) -> str:
    """Returns the definition of a tokenizer in older files."""
    with without_advice():
        from transformers import AutoTokenizer

    try:
        older: Any = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
        return older.backend_tokenizer.to_str()
    except Exception as error:  # transformers raises errors of many types
        raise CheckpointError(
            f"the tokenizer cannot be converted ({error}). Give a directory with {FILE}."
        ) from None
