import math

import numpy as np
import pytest
from tiny_bert import write_encoder

from fspo_jax.config import EncoderConfig
from fspo_jax.errors import EncoderError
from fspo_jax.models.features.featurizer import make_featurizer
from fspo_jax.models.features.style import FEATURES, style_features


def make(tmp_path, **changes):
    directory = tmp_path / "m"
    if not directory.exists():
        write_encoder(directory)
    return make_featurizer(EncoderConfig(model=str(directory), cache=str(tmp_path / "cache"), **changes))


@pytest.mark.parametrize("layer", [0, 1])
def test_featurizer_recipes_have_their_columns(tmp_path, layer):
    prompts, responses = ["the cat", "a dog"], ["sat", "ran far away"]
    encode = make(tmp_path).encoder.encode
    plain = make(tmp_path, style=False, hidden_layer=layer)(prompts, responses)
    np.testing.assert_allclose(plain, 4 * encode(responses, layer), atol=1e-5)  # the root of 16
    joint = make(tmp_path, recipe="joint", style=False, hidden_layer=layer)(prompts, responses)
    np.testing.assert_allclose(
        joint, 4 * encode(["the cat\n\nsat", "a dog\n\nran far away"], layer), atol=1e-5
    )
    both = make(tmp_path, recipe="interaction", style=False, hidden_layer=layer)(prompts, responses)
    product = 16 * encode(responses) * encode(prompts)
    np.testing.assert_allclose(both, np.concatenate([plain, product], 1), atol=1e-5)
    styled = make(tmp_path, hidden_layer=layer)(prompts, responses)
    np.testing.assert_allclose(
        styled, np.concatenate([plain, [style_features(r) for r in responses]], 1), atol=1e-5
    )


def test_featurizer_dimension_and_fingerprint_follow_the_recipe(tmp_path):
    made = [
        make(tmp_path, recipe=recipe, style=style, hidden_layer=layer)
        for recipe in ("response", "joint", "interaction")
        for style in (True, False)
        for layer in (0, 1, 2)
    ]
    assert len({featurizer.fingerprint for featurizer in made}) == 18
    for featurizer in made:
        assert featurizer(["the"], ["cat"]).shape == (1, featurizer.dimension)


@pytest.mark.parametrize("layer", [-1, 3])
def test_featurizer_layer_that_the_model_lacks_raises(tmp_path, layer):
    with pytest.raises(EncoderError, match="layers 1 to 2, 0 is for none"):
        make(tmp_path, hidden_layer=layer)


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
