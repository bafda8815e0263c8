"""Turns text into tokens. No text can produce a token that marks structure.

The ids of structure tokens follow those of the tokenizer's vocabulary, so the tokenizer cannot return them. The
checkpoint's own special tokens (end of text, roles) are read as plain text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fspo_jax.errors import CheckpointError

STRUCTURE = (
    "<shot>", "<prompt>", "<chosen>", "<rejected>", "<end>",
    "<describe>", "<system>", "<user>", "<assistant>", "<role>",
)  # fmt: skip
"""Structure tokens. The i-th, counted from 0, has the id `text_tokens + i`."""

FILE = "tokenizer.json"


class TextTokenizer:
    """A tokenizer of the `tokenizers` library, extended by structure tokens.

    Args:
        definition: Content of its `tokenizer.json`.

    Attributes:
        text_tokens: Number of ids of text. The ids of structure tokens begin here.
        size: Number of all ids.
        structure: Structure token to id.
        fingerprint: Hash of the definition.
    """

    def __init__(self, definition: str):
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_str(definition)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._definition = definition
        self._added = frozenset(self._tokenizer.get_added_tokens_decoder())
        self.text_tokens = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self.size = self.text_tokens + len(STRUCTURE)
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()[:16]
        self.structure = {name: self.text_tokens + i for i, name in enumerate(STRUCTURE)}

    @classmethod
    def load(cls, directory: str | Path) -> TextTokenizer:
        """Reads `tokenizer.json` of a checkpoint directory; raises `CheckpointError` without one."""
        try:
            return cls((Path(directory) / FILE).read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"{directory}: cannot read {FILE} ({error}). Give a directory that contains it."
            ) from None

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

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, `int32`; ids of added tokens never occur."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._plain(text, item.ids) for text, item in zip(texts, encoded, strict=True)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Turns ids back into text, without structure tokens."""
        return self._tokenizer.decode([t for t in tokens if t < self.text_tokens], skip_special_tokens=False)

    def _plain(self, text: str, ids: list[int]) -> np.ndarray:
        """Splits tokens that were added to the vocabulary without being special into tokens of single characters."""
        if self._added.isdisjoint(ids):
            return np.array(ids, np.int32)
        decoder = self._tokenizer.get_added_tokens_decoder()
        pieces = []
        for token in ids:
            if token not in self._added:
                pieces.append(token)
                continue
            for character in decoder[token].content:
                pieces += self._tokenizer.encode(character, add_special_tokens=False).ids
        return np.array([p for p in pieces if p not in self._added], np.int32)
