import jax
import numpy as np
import pytest
from tiny_encoder import write_encoder

from fspo_jax.models.encoders.load import load_encoder
from fspo_jax.models.encoders.text_encoder import forward_function

TEXTS = ["", "the cat", "a dog sat on the mat", "\x00\x07 the", "東京 😀", "good " * 10]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


def test_encode_embedding_is_the_same_with_and_without_hidden_states(tiny):
    encoder = load_encoder(str(tiny))
    both = encoder.encode(TEXTS, (1,))
    np.testing.assert_allclose(both[:, :16], encoder.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(both[:, 16:], axis=1), 1, rtol=1e-5)
    assert np.abs(both[:, 16:] - encoder.encode(TEXTS, (2,))[:, 16:]).max() > 1e-2


def test_load_encoder_layer_makes_its_states_the_embedding_and_drops_later_layers(tiny):
    whole, first = load_encoder(str(tiny)), load_encoder(str(tiny), layer=1)
    np.testing.assert_allclose(first.encode(TEXTS), whole.encode(TEXTS, (1,))[:, 16:], atol=1e-6)
    assert {len(leaf) for leaf in jax.tree.leaves(first.params["layers"])} == {1}


def test_encode_text_alone_equals_text_in_batch(tiny):
    encoder = load_encoder(str(tiny))
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), 16) and together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([encoder.encode([t]) for t in TEXTS]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)


def test_encode_long_text_is_the_weighted_mean_of_its_windows(tmp_path):
    encoder = load_encoder(str(write_encoder(tmp_path / "plain", normalize=False)))
    words = (
        "the cat sat on a mat and the dog ran far away and is good bad cat dog mat sat ran far the"
    ).split()
    assert encoder.max_tokens == 12  # ten words a window
    windows = [words[:10], words[10:20], words[20:]]
    rows = encoder.encode([" ".join(window) for window in windows])
    sizes = np.array([len(window) + 2 for window in windows], np.float32)
    np.testing.assert_allclose(
        encoder.encode([" ".join(words)])[0], (rows * sizes[:, None]).sum(0) / sizes.sum(), atol=1e-6
    )


def test_encode_reads_the_end_of_a_long_text(tiny):
    encoder = load_encoder(str(tiny))
    a, b = encoder.encode(["the cat sat " * 30 + "good", "the cat sat " * 30 + "bad"])
    assert np.abs(a - b).max() > 1e-4


def test_encode_compiles_once_a_bucket(tiny):
    forward_function.cache_clear()  # encoders of one shape share their programs
    encoder = load_encoder(str(tiny))
    for count in (1, 1, 5, 8, 7):
        encoder.encode(["the cat"] * count)
    assert encoder._forward._cache_size() == 2  # one row, eight rows; one length
    load_encoder(str(tiny)).encode(["the cat"])
    assert encoder._forward._cache_size() == 2


def test_warm_up_compiles_what_a_few_short_texts_need(tmp_path):
    encoder = load_encoder(str(write_encoder(tmp_path / "encoder", window=64)))
    encoder.warm_up((1,))
    compiled = encoder._forward._cache_size()
    for count, words in ((1, 1), (1, 11), (2, 1), (8, 7), (5, 11)):
        encoder.encode(["the cat " * words] * count, (1,))
    assert encoder._forward._cache_size() == compiled > 0


def test_load_encoder_fingerprint_tells_weights_and_pooling_apart(tiny, tmp_path):
    fingerprints = {
        load_encoder(str(path)).fingerprint
        for path in (
            tiny,
            write_encoder(tmp_path / "same"),
            write_encoder(tmp_path / "cls", pooling="cls"),
            write_encoder(tmp_path / "window", window=16),
        )
    }
    assert len(fingerprints) == 3
