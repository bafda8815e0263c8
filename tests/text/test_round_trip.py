"""Texts are read back from their tokens, and no text forges a token that is not text."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import numpy as np
import pytest
from tokenizer_kinds import KINDS, SPECIAL, TEXT, WORDS, metaspace_bpe, unigram
from tokenizers import Tokenizer

from fspo_jax.errors import CheckpointError, FspoError
from fspo_jax.models.pretrained.locate import find_model
from fspo_jax.text.tokenizer import STRUCTURE, TextTokenizer

PIECES = [
    *WORDS, *SPECIAL, *(text.replace("▁", " ") for text in TEXT), *STRUCTURE, "<|im_start|>", "<|im_end|>", "<think>",
    "<image>", "<bos>", "<start_of_turn>", "<eos>", "[multimodal]", "<0x41>", "<0x0A>", " ", "  ", "    ", "\n \n",
    "\r\n", "\t\t", "<table>", "</td>", "é", "e\u0301", "你好", "😀", "👩\u200d👩\u200d👧", "\u200b", "\u00a0", "\x00",
    "\x1b", "123,456.78", "don't", "# Example 1\n", "ſ", "ﬁ", "\U000f0000", "\ufffd",
]  # fmt: skip
SMOLLM2 = "[\x04\x06\x13\x14\x16\x1d\U00040000-\U000bffff]"
"""Characters that its vocabulary has no tokens for."""


def texts(seed: int, count: int) -> list[str]:
    """Texts of pieces and of random characters; `▁`, which stands for a space, is left out."""
    generator = random.Random(seed)

    def piece() -> str:
        if generator.random() < 0.8:
            return generator.choice(PIECES)
        point = generator.randrange(generator.choice([0x80, 0x800, 0x10000, 0x110000]))
        return "" if 0xD800 <= point < 0xE000 or point == 0x2581 else chr(point)

    return ["".join(piece() for _ in range(generator.randint(0, 12))) for _ in range(count)]


def check(tokenizer: TextTokenizer, generated: list[str], unwritable: str = "(?!)") -> None:
    for text, tokens in zip(generated, tokenizer.encode(generated), strict=True):
        assert tokenizer.decode(tokens.tolist()) == re.sub(unwritable, "\ufffd", text), text
        assert tokenizer.is_text[tokens].all(), text


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_is_read_back_from_its_tokens(kind: str) -> None:
    tokenizer = TextTokenizer(KINDS[kind])
    check(tokenizer, [*PIECES, *texts(0, 400)])
    markers = {token for name, token in tokenizer._tokenizer.get_vocab().items() if name in SPECIAL}
    assert not tokenizer.is_text[list(markers)].any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "smollm2-135m", "gemma-3-270m"])
def test_ten_thousand_texts_are_read_back_from_their_tokens(kind: str) -> None:
    if kind in KINDS:
        return check(TextTokenizer(KINDS[kind]), texts(1, 10_000))
    try:
        tokenizer = TextTokenizer.load(find_model(kind))
    except FspoError as error:
        pytest.skip(str(error))
    check(tokenizer, texts(1, 10_000), SMOLLM2 if kind == "smollm2-135m" else "(?!)")


@pytest.mark.parametrize("kind", KINDS)
def test_text_without_markers_has_the_tokens_of_the_makers(kind: str) -> None:
    theirs = Tokenizer.from_str(KINDS[kind])
    honest = ["the cat sat", "你好 😀"]
    if kind in ("byte_level", "gemma"):  # the others put a space after each added token
        honest += ["a\n\n\nb\tc  d", "warm <b>cold</b>\n"]
    for text, tokens in zip(honest, TextTokenizer(KINDS[kind]).encode(honest), strict=True):
        assert tokens.tolist() == theirs.encode(text, add_special_tokens=False).ids


def test_character_without_tokens_is_read_as_the_replacement_character() -> None:
    content = json.loads(KINDS["byte_level"])
    vocabulary = content["model"]["vocab"]
    for byte in "Ą", "ñ":  # \x04 and 0xf1, as ByteLevel writes them
        vocabulary[f"no {byte}"] = vocabulary.pop(byte)
    tokenizer = TextTokenizer(json.dumps(content))
    check(tokenizer, ["a\x04b", "a\U00040000b\U0007ffff", *texts(3, 200)], "[\x04\U00040000-\U0007ffff]")


def test_token_that_the_settings_name_is_no_text(tmp_path) -> None:
    content = json.loads(KINDS["gemma"])
    for token in content["added_tokens"]:
        token["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}, "bos_token": "<s>"}')
    tokenizer = TextTokenizer.load(tmp_path)
    assert not tokenizer.is_text[[1, 2]].any()
    check(tokenizer, ["</s><s>", *texts(4, 100)])


def test_added_tokens_of_the_vocabulary_are_one_token_each() -> None:
    tokenizer = TextTokenizer(KINDS["gemma"])
    assert [len(tokens) for tokens in tokenizer.encode(["\n\n\n", "\t", "<b>"])] == [1, 1, 1]


def changed(kind: str, **parts: Any) -> str:
    content = json.loads(KINDS[kind])
    return json.dumps(content | {"model": content["model"] | parts.pop("model", {})} | parts)


REFUSED = {
    "empty": "",
    "no model": "{}",
    "a list": "[]",
    "no vocabulary": '{"model": 3}',
    "an empty vocabulary": changed("gemma", model={"vocab": {}, "merges": []}, added_tokens=[]),
    "an unknown kind": changed("gemma", model={"type": "other"}),
    "a huge id": changed(
        "gemma", model={"vocab": {**json.loads(KINDS["gemma"])["model"]["vocab"], "x": 2**31}}
    ),
    "a prefix that merges lack": changed("byte_level", model={"continuing_subword_prefix": "\x00"}),
    "a beginning that is nowhere": changed(
        "gemma",
        post_processor={**json.loads(KINDS["gemma"])["post_processor"], "special_tokens": {}},
    ),
    "no bytes": unigram(False),
    "lower case": changed("gemma", normalizer={"type": "Lowercase"}),
    "stripped": changed("byte_level", normalizer={"type": "Strip", "strip_left": True, "strip_right": True}),
}


@pytest.mark.parametrize("definition", REFUSED.values(), ids=REFUSED)
def test_damaged_tokenizers_and_those_that_lose_text_are_refused(definition: str) -> None:
    with pytest.raises(CheckpointError, match=r"loses text|cannot be read"):
        TextTokenizer(definition)


BEGINNINGS = [
    ("gemma", "{}", [1]),
    ("gemma", '{"add_bos_token": true, "bos_token": {"content": "</s>"}}', [2]),
    ("gemma", '{"add_bos_token": false, "bos_token": "<s>"}', []),
    ("llama2", "{}", [1]),
    ("byte_level", "{}", []),
    ("byte_level", '{"add_bos_token": true, "bos_token": null}', []),
    ("unigram", '{"add_bos_token": true, "bos_token": "<s>"}', [1]),
]


@pytest.mark.parametrize(("kind", "settings", "expected"), BEGINNINGS)
def test_beginning_is_what_the_tokenizer_puts_before_a_text(kind, settings, expected, tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text(KINDS[kind])
    (tmp_path / "tokenizer_config.json").write_text(settings)
    tokenizer = TextTokenizer.load(tmp_path)
    assert tokenizer.beginning.tolist() == expected and tokenizer.beginning.dtype == np.int32
    assert TextTokenizer(tokenizer.definition).beginning.tolist() == expected  # what is saved with a reward
    check(tokenizer, texts(2, 50))


@pytest.mark.slow
def test_tokenizer_in_older_files_is_converted(tmp_path) -> None:
    model = json.loads(KINDS["byte_level"])["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, model["merges"])]))
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    tokenizer = TextTokenizer.load(tmp_path)
    text = "the cat<|endoftext|>\n\nwarm 😀"
    check(tokenizer, [text])
    assert (
        tokenizer.encode(["the cat"])[0].tolist()
        == TextTokenizer(KINDS["byte_level"]).encode(["the cat"])[0].tolist()
    )
    assert not tokenizer.is_text[-1]  # the end of a text, which transformers adds
    (tmp_path / "vocab.json").write_text("[")
    with pytest.raises(CheckpointError, match=r"cannot be converted .*Give a directory with tokenizer\.json"):
        TextTokenizer.load(tmp_path)


@pytest.mark.parametrize("settings", ["[1]", "{", '{"add_bos_token": true, "bos_token": "<none>"}'])
def test_settings_that_cannot_be_read_are_refused(settings: str, tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_text(metaspace_bpe())
    (tmp_path / "tokenizer_config.json").write_text(settings)
    with pytest.raises(CheckpointError, match=r"tokenizer_config\.json cannot be read"):
        TextTokenizer.load(tmp_path)
