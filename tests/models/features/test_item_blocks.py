"""Blocks that read the prompt beside the response."""

import jax
import numpy as np
import pytest
from tiny_encoder import write_encoder

from fspo_jax.config import EncoderConfig
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.features.make import make_encoder
from fspo_jax.models.features.sentence import Sentence
from fspo_jax.models.features.style import FEATURES, Style, style_features
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import Message

TALK = (Message("user", "the cat"), Message("assistant", "sat"))
ITEMS = [
    ("the cat", "sat"),
    ("a dog", "sat"),
    (TALK, "sat"),
    ("user: the cat\nassistant: sat", "sat"),  # the same text, but not the same prompt
    ("the cat", "ran"),
    ("the", "cat"),
    ("the ca", "t"),
    ("", "cat"),
]


class Seen:
    """Says how long prompt and response are, what kind the prompt is, and notes the items."""

    name, width, columns, fingerprint, reads_encoder = (
        "seen",
        3,
        {"prompt": "", "response": "", "talk": ""},
        "seen-1",
        False,
    )

    def __init__(self):
        self.items = []

    def values(self, items):
        self.items += zip(items.prompts, items.responses, strict=True)
        return of_items(zip(items.prompts, items.responses, strict=True))


class Overlap(Seen):
    """The product of the two embeddings."""

    name, width, columns, fingerprint, reads_encoder = "overlap", 1, {"overlap": "overlap"}, "overlap-1", True

    def values(self, items):
        self.items += zip(items.prompts, items.responses, strict=True)
        return (items.prompt_vectors * items.response_vectors).mean(1, keepdims=True)


def of_items(items):
    return np.array([[len(render_prompt(p)), len(r), not isinstance(p, str)] for p, r in items], np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder(EncoderConfig(model=str(write_encoder(tmp_path_factory.mktemp("m") / "m"))))


def test_item_blocks_stand_last_and_read_the_prompt(encoder, tmp_path):
    for directory in (None, tmp_path):
        featurizer = Featurizer(encoder, [], [Style()], [Overlap(), Seen()], directory)
        assert featurizer.blocks == {"style": len(FEATURES), "overlap": 1, "seen": 3}
        assert tuple(featurizer.columns["seen"]) == ("prompt", "response", "talk")
        prompts, responses = zip(*ITEMS, strict=True)
        embedded = [
            encoder.encode(list(map(str, texts))) for texts in (map(render_prompt, prompts), responses)
        ]
        expected = [
            [style_features(text) for text in responses],
            (embedded[0] * embedded[1]).sum(1, keepdims=True),
            of_items(ITEMS),
        ]
        for _ in range(2):
            np.testing.assert_allclose(featurizer(prompts, responses), np.concatenate(expected, 1), atol=1e-5)
        np.testing.assert_allclose(
            featurizer.other_columns(prompts, responses), np.concatenate(expected, 1), atol=1e-5
        )


def test_item_blocks_compute_each_item_once_and_texts_once_also_in_another_process_life(
    encoder, tmp_path, monkeypatch
):
    encoded = []
    original = encoder.encode
    monkeypatch.setattr(encoder, "encode", lambda texts, *_: (encoded.extend(texts), original(texts))[1])
    prompts, responses = zip(*ITEMS, *ITEMS, strict=True)
    lives = []
    for _ in range(2):
        blocks = Overlap(), Seen()
        featurizer = Featurizer(encoder, [], [], blocks, tmp_path)
        lives.append(featurizer(prompts, responses))
        np.testing.assert_array_equal(featurizer(prompts[::-1], responses[::-1]), lives[-1][::-1])
        for block in blocks:
            assert block.items == (ITEMS if len(lives) == 1 else [])
    np.testing.assert_array_equal(*lives)
    assert sorted(encoded) == sorted({text for p, r in ITEMS for text in (render_prompt(p), r)})


def test_warm_up_asks_each_block_and_stores_nothing(encoder, tmp_path):
    blocks = Overlap(), Seen()
    featurizer = Featurizer(encoder, [], [Style()], blocks, tmp_path)
    featurizer.warm_up()
    assert [len(block.items) for block in blocks] == [1, 1] and not list(tmp_path.rglob("*.segment"))


def test_item_blocks_follow_the_encoder_they_read_and_no_other(tmp_path):
    encoders = [
        make_encoder(EncoderConfig(model=str(write_encoder(tmp_path / f"m{seed}", seed=seed))))
        for seed in (0, 1)
    ]
    blocks = Overlap(), Seen()
    for encoder in encoders:
        Featurizer(encoder, [], [], blocks, tmp_path)(["the cat"], ["sat"])
    assert [len(block.items) for block in blocks] == [2, 1]


def test_item_blocks_read_the_encoder_without_adapters(encoder, tmp_path):
    adapters = jax.tree.map(lambda leaf: leaf + 0.3, encoder.init_adapters(jax.random.key(0), 1, 1))
    prompts, responses = zip(*ITEMS, strict=True)
    for directory in (None, tmp_path):
        plain = Featurizer(encoder, [Sentence(encoder.dimension)], [], [Overlap()], directory)
        adapted = plain.adapted(adapters)
        rows = [of(prompts, responses) for of in (plain, adapted)]
        assert np.abs(rows[0] - rows[1])[:, :-1].max() > 0.1
        np.testing.assert_allclose(rows[0][:, -1], rows[1][:, -1], atol=1e-6)
