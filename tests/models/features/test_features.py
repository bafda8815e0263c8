import math
import time

import numpy as np
import pytest
from tiny_decoder import write_decoder
from tiny_encoder import write_encoder

from fspo_jax.config import (
    DEFAULT_FEATURES,
    ApprovalConfig,
    EncoderConfig,
    HiddenLayerConfig,
    SentenceConfig,
    StyleConfig,
)
from fspo_jax.errors import EncoderError
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.models.features.style import FEATURES, style_features

SENTENCE, STYLE = SentenceConfig(), StyleConfig()


def make(tmp_path, *features):
    directory = tmp_path / "m"
    if not directory.exists():
        write_encoder(directory)
    config = EncoderConfig(model=str(directory), cache=str(tmp_path / "cache"))
    return make_featurizer(config, features or DEFAULT_FEATURES)


def test_featurizer_default_blocks_have_their_columns(tmp_path):
    responses = ["sat", "ran far away"]
    featurizer = make(tmp_path)
    expected = [
        4 * featurizer.encoder.encode(responses, (2,)),  # the root of 16
        [style_features(text) for text in responses],
    ]
    np.testing.assert_allclose(
        featurizer(["the cat", "a dog"], responses), np.concatenate(expected, 1), atol=1e-5
    )
    assert list(featurizer.blocks.items()) == [
        ("sentence", 16),
        ("hidden_layer_2", 16),
        ("style", len(FEATURES)),
    ]


def test_featurizer_puts_the_encoders_blocks_first_each_in_the_given_order(tmp_path):
    responses = ["sat", "ran far away"]
    featurizer = make(tmp_path, STYLE, HiddenLayerConfig(layer=2), SENTENCE, HiddenLayerConfig(layer=1))
    assert list(featurizer.blocks) == ["hidden_layer_2", "sentence", "hidden_layer_1", "style"]
    embedding, first, second = np.split(4 * featurizer.encoder.encode(responses, (1, 2)), 3, axis=1)
    expected = [second, embedding, first, [style_features(text) for text in responses]]
    np.testing.assert_allclose(featurizer(["", ""], responses), np.concatenate(expected, 1), atol=1e-5)


def test_featurizer_dimension_and_fingerprint_follow_the_blocks(tmp_path):
    first, second = HiddenLayerConfig(layer=1), HiddenLayerConfig(layer=2)
    lists = [
        (SENTENCE,), (SENTENCE, first), (SENTENCE, second), (SENTENCE, first, second), (first,), (STYLE,),
        (SENTENCE, STYLE), (SENTENCE, first, STYLE), (SENTENCE, ApprovalConfig()), (first, SENTENCE),
    ]  # fmt: skip
    made = [make(tmp_path, *blocks) for blocks in lists]
    assert len({featurizer.fingerprint for featurizer in made}) == len(lists)
    for featurizer in made:
        assert featurizer.dimension == sum(featurizer.blocks.values())
        assert featurizer(["the"], ["cat"]).shape == (1, featurizer.dimension)


def test_featurizer_layer_that_the_model_lacks_raises(tmp_path):
    with pytest.raises(EncoderError, match=r"no hidden layer 3\. Its layers are numbered 1 to 2"):
        make(tmp_path, HiddenLayerConfig(layer=3))


def test_featurizer_encodes_each_text_once_also_in_another_process_life(tmp_path, monkeypatch):
    featurizer = make(tmp_path)
    seen = []
    original = featurizer.encoder.encode
    monkeypatch.setattr(
        featurizer.encoder, "encode", lambda texts, *layer: (seen.extend(texts), original(texts, *layer))[1]
    )
    first = featurizer(["p", "p", "q"], ["cat", "dog", "cat"])
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(featurizer(["p"], ["dog"])[0], first[1])
    assert seen == ["cat", "dog"]
    later = make(tmp_path)
    monkeypatch.setattr(later.encoder, "encode", lambda *_: pytest.fail("encoded again"))
    np.testing.assert_array_equal(later(["p", "p", "q"], ["cat", "dog", "cat"]), first)


def test_featurizer_blocks_of_other_models_have_their_names_and_rows_of_their_own(tmp_path, monkeypatch):
    directories = [write_encoder(tmp_path / "other", seed=1), write_decoder(tmp_path / "decoder")]
    features = (
        SentenceConfig(model=str(directories[0])),
        HiddenLayerConfig(layer=2, model=str(directories[1])),
        SENTENCE,
    )
    featurizer = make(tmp_path, *features)
    assert featurizer.blocks == dict.fromkeys(("sentence", "sentence_other", "hidden_layer_2_decoder"), 16)
    texts = ["the cat", "a dog ran far away", ""]
    rows = featurizer(["?"] * 3, texts)
    np.testing.assert_allclose(rows[:, :16], 4 * featurizer.encoder.encode(texts), atol=1e-5)
    for place, directory, layer in ((16, directories[0], 0), (32, directories[1], 2)):
        # Rows of another model are those that it has as the encoder of a run.
        config = EncoderConfig(str(directory), layer, cache=str(tmp_path / "cache"))
        alone = make_featurizer(config, (SENTENCE,))
        assert alone.fingerprint != featurizer.fingerprint
        monkeypatch.setattr(alone.encoder, "encode", lambda *_: pytest.fail("encoded again"))
        np.testing.assert_array_equal(alone(["?"] * 3, texts), rows[:, place : place + 16])


def test_style_features_by_hand():
    text = "Maybe you should go! I can't. **Now**?\n- one\n- two"
    named = dict(zip(FEATURES, style_features(text), strict=True))
    words = "maybe you should go i can't now one two".split()
    assert named["log_words"] == pytest.approx(math.log1p(len(words)) / 1.5 - 2)
    assert named["log_sentences"] == pytest.approx(math.log(3) - 0.7)
    assert named["bullets"] == pytest.approx(math.log1p(2)) and named["lines"] == pytest.approx(math.log1p(2))
    assert named["bold"] == pytest.approx(math.log1p(1))
    assert named["exclamations"] == pytest.approx(2 / 3) and named["questions"] == pytest.approx(2 / 3)
    for name, scale in (("hedges", 15), ("first_person", 10), ("second_person", 10), ("negations", 12)):
        assert named[name] == pytest.approx(scale / len(words))


@pytest.mark.parametrize(
    "text", ["", " ", "\x00", "。", "😀" * 50, "a" * 50_000, "你好。再见！", "\n\n", "'", "1" * 99]
)
def test_style_features_any_text_is_finite_and_of_moderate_size(text):
    features = style_features(text)
    assert features.shape == (len(FEATURES),) and np.isfinite(features).all() and np.abs(features).max() < 20
    assert text or not features.any()


@pytest.mark.parametrize(
    "text", ["\n" * 50_000, "." * 49_999 + "x", "\t\n" * 25_000, "?! " * 16_000 + "。" * 2_000 + "x"]
)
def test_style_features_of_a_text_of_marks_take_no_longer_than_of_words(text):
    """A text is anybody's, and one that takes seconds would stop a whole service."""
    started = time.process_time()
    style_features(text)
    assert time.process_time() - started < 1.0


def test_style_features_count_sentences_and_lists_between_marks_and_empty_lines():
    def counts(text):
        named = dict(zip(FEATURES, style_features(text), strict=True))
        return round(math.exp(named["log_sentences"] + 0.7)), round(math.expm1(named["bullets"]))

    assert counts("One... two.three?! Four。Five。。\n") == (4, 0)
    assert counts("\n\n - a\n\n\t* b\n12) c\n-\n- d - e\n-f") == (1, 5)


def test_featurizer_without_a_home_directory_remembers_in_memory(tmp_path, monkeypatch):
    directory = write_encoder(tmp_path / "m")
    monkeypatch.delenv("FSPO_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/dev/null")
    with pytest.warns(UserWarning, match="nothing is cached on disk"):
        featurizer = make_featurizer(EncoderConfig(model=str(directory)))
    first = featurizer(["", ""], ["cat", "dog"])
    monkeypatch.setattr(featurizer.encoder, "encode", lambda *_: pytest.fail("encoded again"))
    np.testing.assert_array_equal(featurizer(["", ""], ["dog", "cat"]), first[::-1])
    np.testing.assert_array_equal(make(tmp_path)(["", ""], ["cat", "dog"]), first)
