"""Text to tokens, such that no text can make a token that means structure.

Structure tokens have the ids behind the tokenizer's vocabulary: whatever a text contains, the tokenizer cannot return
them. The checkpoint's own special tokens (end of text, roles) are read as plain text.
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
"""Structure tokens; the i-th has the id `text_tokens + i`."""

FILE = "tokenizer.json"


class TextTokenizer:
    """A tokenizer of `tokenizers` with structure tokens behind it.

    Attributes:
        text_tokens: Number of ids that texts can have; structure begins there.
        size: All ids.
        fingerprint: Hash of the vocabulary and its rules.
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
            raise CheckpointError(f"{directory}: no {FILE} can be read there ({error}).") from None

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> TextTokenizer:
        """Byte-level BPE of at most `vocabulary` ids learned from texts; every text has tokens, none is unknown."""
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
        """What `TextTokenizer(definition)` takes."""
        return self._definition

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, `int32`; ids of added tokens never occur."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._plain(text, item.ids) for text, item in zip(texts, encoded, strict=True)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ids; structure tokens are left out."""
        return self._tokenizer.decode([t for t in tokens if t < self.text_tokens], skip_special_tokens=False)

    def _plain(self, text: str, ids: list[int]) -> np.ndarray:
        """Tokens that were added to the vocabulary without being special match in texts: those are split apart."""
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
