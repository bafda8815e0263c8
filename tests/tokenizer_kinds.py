"""Tiny tokenizers of every kind that checkpoints bring."""

from __future__ import annotations

import json
from typing import Any

from fspo_jax.text.tokenizer import BYTES, TextTokenizer

WORDS = ["the", "cat", "sat", "warm", "cold"]
SPECIAL = ["<unk>", "<s>", "</s>"]
TEXT = ["\n", "\n\n", "\n\n\n", "\t", "▁▁", "<b>", "</b>"]
"""Added tokens that are text, and part of the vocabulary."""


def added(content: str, index: int, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, "special": special, **flags}


def byte_level(prefix: bool = False) -> str:
    """Like GPT-2, Llama 3 and Qwen, with tokens that were added to the finished vocabulary."""
    content = json.loads(
        TextTokenizer.train([f"{a} {b}.\n\n \n" for a in WORDS for b in WORDS], 300).definition
    )
    content["pre_tokenizer"]["add_prefix_space"] = prefix
    vocabulary = content["model"]["vocab"]
    for text in ("\n\n\n", "  "):
        content["added_tokens"].append(added(text, len(vocabulary) + len(content["added_tokens"]), False))
    for text in ("<|im_start|>", "<|im_end|>"):
        content["added_tokens"].append(added(text, len(vocabulary) + len(content["added_tokens"]), True))
    content["added_tokens"].append(
        added("<think>", len(vocabulary) + len(content["added_tokens"]), False)
    )  # not text
    return json.dumps(content)


def pieces() -> list[str]:
    letters = sorted({*"".join(WORDS), *"<>/0x41", "▁"})
    return [*SPECIAL, *BYTES, *TEXT, *letters, "▁the", "▁t", "th", "▁c", "at"]


def metaspace_bpe(prefix: bool = False) -> str:
    """Like Gemma without `prefix`, like Llama 2 with it: bytes for unknown characters, and spaces as `▁`."""
    vocabulary = {piece: i for i, piece in enumerate(pieces())}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    merges = [["t", "h"], ["▁", "t"], ["▁t", "he"], ["▁", "c"], ["a", "t"]]
    merges = [pair for pair in merges if "".join(pair) in vocabulary and all(p in vocabulary for p in pair)]
    # Merges that spell a special token and a byte, as converters write them.
    for whole in ("<s>", "<0x41>"):
        for end in range(2, len(whole) + 1):
            vocabulary.setdefault(whole[:end], len(vocabulary))
            merges.append([whole[: end - 1], whole[end - 1]])
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [
                *(added(token, vocabulary[token], True) for token in SPECIAL),
                *(added(token, vocabulary[token], False) for token in TEXT),
                added("<image>", len(vocabulary), True),
            ],
            "normalizer": {"type": "Sequence", "normalizers": [prepend, replace]} if prefix else replace,
            "pre_tokenizer": None,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [begin, text],
                "pair": [begin, text, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
            },
            "decoder": {
                "type": "Sequence",
                "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, *([strip] if prefix else [])],
            },
            "model": {
                "type": "BPE",
                "unk_token": "<unk>",
                "fuse_unk": True,
                "byte_fallback": True,
                "vocab": vocabulary,
                "merges": merges,
            },
        }
    )


def unigram(byte_fallback: bool = True) -> str:
    """Like SentencePiece's unigram models; text can spell its special tokens and bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = [(piece, 0.0 if piece in SPECIAL else -2.0 - i / 100) for i, piece in enumerate(pieces())]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=byte_fallback))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer.to_str()


KINDS = {
    "byte_level": byte_level(),
    "byte_level_prefix": byte_level(True),
    "gemma": metaspace_bpe(),
    "llama2": metaspace_bpe(True),
    "unigram": unigram(),
}
