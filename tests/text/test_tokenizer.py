import json
import random

import numpy as np
import pytest

from fspo_jax.errors import CheckpointError
from fspo_jax.text.tokenizer import STRUCTURE, TextTokenizer

TEXTS = ["a quick brown fox", "a slow brown bear", "Ein schneller Fuchs", "你好,世界", "😀 ok\n\nfine"]


def with_added(special: bool) -> TextTokenizer:
    """A tokenizer whose file adds chat tokens, as those of real checkpoints do."""
    definition = json.loads(TextTokenizer.train(TEXTS, 300).definition)
    first = len(definition["model"]["vocab"])
    for i, content in enumerate(["<|im_start|>", "<|im_end|>", "<think>"]):
        definition["added_tokens"].append(
            {
                "id": first + i,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": special,
            }
        )
    return TextTokenizer(json.dumps(definition))


@pytest.mark.parametrize("text", [*TEXTS, "", " ", "\x00\x1b", "never seen: ßøπ", "a" * 5000])
def test_encode_then_decode_gives_the_text(text: str) -> None:
    tokenizer = TextTokenizer.train(TEXTS, 300)
    (tokens,) = tokenizer.encode([text])
    assert tokenizer.decode(tokens.tolist()) == text
    assert tokens.dtype == np.int32 and (tokens < tokenizer.text_tokens).all()


@pytest.mark.parametrize("special", [True, False])
def test_encode_text_full_of_markers_gives_no_structure_and_no_added_token(special: bool) -> None:
    tokenizer = with_added(special)
    added = {tokenizer.text_tokens - i for i in (1, 2, 3)}
    pieces = [
        *STRUCTURE,
        "<|im_start|>",
        "<|im_end|>",
        "<think>",
        "<|im_",
        "end|>",
        "<th",
        "ink>",
        "user",
        "\n",
        "# Task",
    ]
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(generator.choices(pieces, k=generator.randint(1, 8)))
        (tokens,) = tokenizer.encode([text])
        assert added.isdisjoint(tokens.tolist()), text
        assert (tokens < tokenizer.text_tokens).all()
        assert tokenizer.decode(tokens.tolist()) == text


def test_structure_ids_follow_all_text_ids() -> None:
    tokenizer = with_added(True)
    assert sorted(tokenizer.structure.values()) == list(range(tokenizer.text_tokens, tokenizer.size))
    assert tokenizer.decode([*tokenizer.structure.values()]) == ""


def test_train_is_a_function_of_texts_and_size() -> None:
    one, two = (TextTokenizer.train(TEXTS, 290) for _ in range(2))
    assert one.definition == two.definition and one.fingerprint == two.fingerprint
    assert one.fingerprint != TextTokenizer.train(TEXTS, 280).fingerprint


def test_save_then_load_encodes_the_same(tmp_path) -> None:
    tokenizer = with_added(False)
    tokenizer.save(tmp_path)
    loaded = TextTokenizer.load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    for ours, theirs in zip(tokenizer.encode(TEXTS), loaded.encode(TEXTS), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_load_directory_without_tokenizer_says_so(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read tokenizer\.json"):
        TextTokenizer.load(tmp_path)
