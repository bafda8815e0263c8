"""Turns texts into windows of tokens that begin and end as the model's tokenizer says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.files import read_table
from fspo_jax.text.advice import without_advice

FILES = (
    "tokenizer.json",
    "vocab.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
)
"""Files of a tokenizer. Transformers converts all but the first."""

NORMALIZER_KEYS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Keys of `tokenizer_config.json` that replace settings of a BERT normalizer, and those settings."""


class WindowTokenizer:
    """A tokenizer of the `tokenizers` library that divides long texts into windows.

    A text that spells a special token has it, as in sentence-transformers.

    Args:
        tokenizer: It neither cuts nor pads.
        vocabulary: Number of rows of the embedding. Added tokens with larger ids are left out of texts.
        prefix: Put before every text.
        fingerprint: Hash of the tokenizer and the prefix.

    Raises:
        EncoderError: The tokenizer's own vocabulary is larger than the embedding.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, prefix: str, fingerprint: str):
        self._tokenizer, self._prefix, self.fingerprint = tokenizer, prefix, fingerprint
        self._vocabulary = vocabulary
        self._start, self._end = _around(tokenizer)
        own = tokenizer.get_vocab(with_added_tokens=False).values()
        largest = max([0, *own, *self._start, *self._end])
        if largest >= vocabulary:
            raise EncoderError(
                f"the tokenizer has ids up to {largest}, but the embedding has {vocabulary} rows. They belong to "
                "different models."
            )

    @property
    def around(self) -> int:
        """Number of tokens around the text of a window."""
        return len(self._start) + len(self._end)

    def windows(self, texts: Sequence[str], length: int) -> list[list[list[int]]]:
        """Returns the token ids of each text, in windows of at most `length` tokens with special tokens around each.

        An empty text has one window. It is empty if the tokenizer adds no special tokens.
        """
        room = length - self.around
        encodings = self._tokenizer.encode_batch_fast(
            [self._prefix + text for text in texts], add_special_tokens=False
        )
        every = ([i for i in encoding.ids if i < self._vocabulary] for encoding in encodings)
        return [
            [[*self._start, *ids[i : i + room], *self._end] for i in range(0, max(len(ids), 1), room)]
            for ids in every
        ]


def read_tokenizer(directory: Path, vocabulary: int, *, lowercase: bool, prefix: str) -> WindowTokenizer:
    """Reads `tokenizer.json`, or the files of older models through transformers.

    Args:
        directory: Of the model.
        vocabulary: See `WindowTokenizer`.
        lowercase: Whether to turn texts into lower case.
        prefix: See `WindowTokenizer`.

    Raises:
        EncoderError: The files are missing or damaged, or belong to another model.
    """
    tokenizer, digest = _read(directory)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    path = directory / "tokenizer_config.json"
    config = read_table(path) if path.is_file() else {}
    before = _definition(tokenizer.normalizer)
    _set_case(tokenizer, config, lowercase)
    ends = _set_ends(tokenizer, config)
    if (after := _definition(tokenizer.normalizer)) != before or prefix or ends:
        digest = hashlib.sha256("\n".join([digest, after, prefix, *ends]).encode()).hexdigest()
    try:
        return WindowTokenizer(tokenizer, vocabulary, prefix, digest)
    except EncoderError as error:
        raise EncoderError(f"{directory}: {error}") from None


def _read(directory: Path) -> tuple[Any, str]:
    """Returns a tokenizer of the `tokenizers` library, and the SHA-256 of its definition."""
    path = next((directory / name for name in FILES if (directory / name).is_file()), None)
    if path is None:
        raise EncoderError(f"{directory / FILES[0]} does not exist, nor does any of {', '.join(FILES[1:])}.")
    try:
        if path.name == FILES[0]:
            from tokenizers import Tokenizer

            data = path.read_bytes()
            return Tokenizer.from_str(data.decode()), hashlib.sha256(data).hexdigest()
        with without_advice():
            from transformers import AutoTokenizer

        older: Any = AutoTokenizer.from_pretrained(
            str(directory), local_files_only=True, trust_remote_code=False
        )
        tokenizer = older.backend_tokenizer
        return tokenizer, hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    except Exception as error:  # both libraries raise errors of many types
        raise EncoderError(f"{path} cannot be read: {error}.") from error


def _set_case(tokenizer: Any, config: Mapping[str, Any], lowercase: bool) -> None:
    from tokenizers.normalizers import BertNormalizer, Lowercase, Sequence

    if isinstance(tokenizer.normalizer, BertNormalizer):
        for key, name in NORMALIZER_KEYS.items():
            if isinstance(config.get(key), bool):
                setattr(tokenizer.normalizer, name, config[key])
    normalizer = tokenizer.normalizer
    if lowercase and (normalizer is None or normalizer.normalize_str("A") != "a"):
        tokenizer.normalizer = Sequence([Lowercase()] if normalizer is None else [Lowercase(), normalizer])


def _set_ends(tokenizer: Any, config: Mapping[str, Any]) -> list[str]:
    """Without a post-processor, puts the CLS and SEP tokens of the settings around texts, and returns their names.

    Transformers does so in its classes for the families of BERT.
    """
    from tokenizers.processors import TemplateProcessing

    named = [config.get(key) for key in ("cls_token", "sep_token")]
    names = [str(name.get("content") if isinstance(name, dict) else name) for name in named if name]
    ids = [tokenizer.token_to_id(name) for name in names]
    if tokenizer.post_processor is not None or len(names) < 2 or None in ids:
        return []
    tokenizer.post_processor = TemplateProcessing(
        single=[names[0], "$A", names[1]], special_tokens=list(zip(names, ids, strict=True))
    )
    return names


def _definition(normalizer: Any) -> str:
    return "" if normalizer is None else json.dumps(json.loads(normalizer.__getstate__()), sort_keys=True)


def _around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Returns the ids that the tokenizer's post-processor puts before and after a text."""
    for text in ("a", "0", ".", "中"):
        encoding = tokenizer.encode(text)
        plain = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        if plain:
            return encoding.ids[: plain[0]], encoding.ids[plain[-1] + 1 :]
    return tokenizer.encode("").ids, []
