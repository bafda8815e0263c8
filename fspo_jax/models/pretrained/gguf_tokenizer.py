"""The tokenizer in the metadata of a GGUF file, through the converters of transformers, which need no torch for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fspo_jax.errors import CheckpointError, how_to_install
from fspo_jax.text.advice import without_advice

CONTROL = 3
"""Type of tokens that no text contains."""

ENDS = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<end_of_turn>")
"""Control tokens that end an answer even if the metadata does not say so, as in llama.cpp."""

DIGITS = ("smollm", "starcoder", "refact", "command-r")
"""Pre-tokenizers of GPT-2 with single digits, which transformers reads as plain GPT-2."""

LLAMA3 = ("llama3", "llama-v3", "llama-bpe")

_SETTINGS = {
    "tokenizer_type": "model",
    "pre_tokenizer_type": "pre",
    "tokens": "tokens",
    "scores": "scores",
    "token_type": "token_type",
    "merges": "merges",
}


def write_tokenizer(metadata: Mapping[str, Any], vocabulary: int, directory: Path) -> list[int]:
    """Writes `tokenizer.json`, `tokenizer_config.json` and the chat template.

    Args:
        metadata: All fields of the file.
        vocabulary: Number of rows of the embedding.
        directory: Where to write.

    Returns:
        Ids of the tokens that end an answer.

    Raises:
        CheckpointError: The tokenizer is missing or of a kind that is not supported.
    """
    try:
        with without_advice():
            from transformers.integrations.gguf.gguf_tokenizer_mapping import (
                GGUF_PRE_TOKENIZER_SPLITS,
                convert_gguf_tokenizer,
            )
    except ImportError:
        raise CheckpointError(
            f"GGUF files need transformers 5.23 or newer. {how_to_install('gguf')}"
        ) from None
    from tokenizers import normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    found = {key: metadata.get(f"tokenizer.ggml.{name}") for key, name in _SETTINGS.items()}
    given = {key: value for key, value in found.items() if value is not None}
    kind, split = found["tokenizer_type"], found["pre_tokenizer_type"]
    architecture, tokens = metadata["general.architecture"], found["tokens"]
    if kind not in ("gpt2", "llama") or not tokens:
        raise CheckpointError(f"tokenizer '{kind}' is not supported. Supported: gpt2, llama.")
    if len(tokens) > vocabulary:
        raise CheckpointError(f"the tokenizer has {len(tokens):,} tokens, the embedding {vocabulary:,} rows.")
    known = {*GGUF_PRE_TOKENIZER_SPLITS, *DIGITS, "gpt-2"}
    if kind == "gpt2" and split not in known:
        raise CheckpointError(
            f"how the tokenizer splits text (tokenizer.ggml.pre = {split!r}) is not supported. Supported: "
            f"{', '.join(sorted(known))}."
        )
    if (
        kind == "llama"
        and architecture == "llama"
        and metadata.get("tokenizer.ggml.add_space_prefix") is False
    ):
        raise CheckpointError("a sentencepiece tokenizer that adds no space before a text is not supported.")
    try:
        backend, _ = convert_gguf_tokenizer(architecture, given)
    except Exception as error:  # the library raises plain Exception
        raise CheckpointError(f"the tokenizer cannot be read ({error!r}).") from None
    if split in DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    if split == "qwen2":
        backend.normalizer = normalizers.NFC()

    ids = {
        name: metadata.get(f"tokenizer.ggml.{name}_token_id")
        for name in ("bos", "eos", "eot", "eom", "unknown", "padding")
    }
    if any(index is not None and not 0 <= index < len(tokens) for index in ids.values()):
        raise CheckpointError(f"the ids of special tokens {ids} are outside of the {len(tokens):,} tokens.")
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    special = {names[name]: tokens[i] for name, i in ids.items() if name in names and i is not None}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        add_bos_token=bool(metadata.get("tokenizer.ggml.add_bos_token", kind == "llama" or split in LLAMA3)),
        add_eos_token=bool(metadata.get("tokenizer.ggml.add_eos_token", False)),
        clean_up_tokenization_spaces=False,
        **special,
    )
    tokenizer.chat_template = metadata.get("tokenizer.chat_template")
    tokenizer.save_pretrained(str(directory))
    types = found["token_type"] or []
    ends = [int(index) for index in (ids["eos"], ids["eot"], ids["eom"]) if index is not None]
    ends += [
        i for i, (text, of) in enumerate(zip(tokens, types, strict=False)) if of == CONTROL and text in ENDS
    ]
    if not ends:
        raise CheckpointError("no token ends an answer (tokenizer.ggml.eos_token_id is missing).")
    return list(dict.fromkeys(ends))
