"""Encoders of every family give the numbers of transformers on torch, pooled as sentence-transformers does."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_encoder import config_of, tensors, write_encoder

from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.load import FAMILIES, load_encoder
from fspo_jax.models.encoders.post_norm import distance_buckets
from fspo_jax.models.pretrained.locate import find_model

TEXTS = ["", "the cat", "a dog sat on the mat", "\x00\x07 the", "東京 😀", "good " * 4, "the <pad> cat </s>"]


def reference(directory, texts, *, pooling, normalize, layer):
    """Embeddings and means of one layer's hidden states by transformers on torch, a text at a time, unpadded.

    Pooling is the formula of sentence-transformers.
    """
    torch = pytest.importorskip("torch", reason="parity needs torch (CPU), which scripts/test.sh brings")
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = []
    for text in texts:
        with torch.no_grad():
            ids = torch.tensor([tokenizer.encode(text).ids])
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        last = output.last_hidden_state[0]
        row = {"mean": last.mean(0), "cls": last[0], "lasttoken": last[-1]}[pooling]
        row = torch.nn.functional.normalize(row, dim=0) if normalize else row
        hidden = torch.nn.functional.normalize(output.hidden_states[layer][0].mean(0), dim=0)
        rows.append(torch.cat([row, hidden]).numpy())
    return np.stack(rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch and transformers warn on import
@pytest.mark.parametrize(
    ("family", "pooling", "normalize", "prefix", "activation"),
    [
        ("bert", "mean", True, "", "gelu"),
        ("bert", "cls", True, "bert.", "relu"),
        ("roberta", "mean", True, "roberta.", "gelu_new"),
        ("roberta", "cls", False, "", "tanh"),
        ("xlm-roberta", "mean", True, "0.auto_model.", "gelu"),
        ("xlm-roberta", "lasttoken", False, "", "gelu_pytorch_tanh"),
        ("mpnet", "mean", False, "mpnet.", "gelu"),
        ("mpnet", "cls", True, "", "silu"),
    ],
)
def test_encode_tiny_models_equal_torch(tmp_path, family, pooling, normalize, prefix, activation):
    directory = write_encoder(
        tmp_path / "m", family=family, pooling=pooling, normalize=normalize, prefix=prefix, window=24
    )
    (directory / "config.json").write_text(json.dumps(config_of(family) | {"hidden_act": activation}))
    ours = load_encoder(str(directory)).encode(TEXTS, (1,))
    # The reference reads the same tensors under plain names.
    save_file(tensors(config_of(family)), directory / "model.safetensors")
    np.testing.assert_allclose(
        ours, reference(directory, TEXTS, pooling=pooling, normalize=normalize, layer=1), atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "normalize"), [("all-MiniLM-L6-v2", True), ("all-mpnet-base-v2", True)])
def test_encode_pretrained_models_equal_torch(name, normalize):
    try:
        directory = find_model(name, error=EncoderError)
    except EncoderError as missing:
        pytest.skip(str(missing))
    texts = [
        "",
        "Hello!",
        "naïve café — 東京 😀",
        "机器学习很有趣。" * 8,
        "\x00\x1b control",
        "word " * 250,
        "A? b. C!\n\n- d </s> [SEP] <pad>",
    ]
    ours = load_encoder(name).encode(texts, (2,))
    theirs = reference(directory, texts, pooling="mean", normalize=normalize, layer=2)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow  # imports transformers
@pytest.mark.parametrize("family", FAMILIES)
def test_configs_as_transformers_writes_them_are_read(family):
    from transformers import AutoConfig

    written = json.loads(AutoConfig.for_model(family).to_json_string(use_diff=False))
    network = FAMILIES[family](written)
    assert (network.width, network.layers) == (768, 12)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "mpnet"])
def test_encode_text_alone_equals_text_in_batch_for_each_family(tmp_path, family):
    encoder = load_encoder(str(write_encoder(tmp_path / "m", family=family)))
    np.testing.assert_allclose(
        encoder.encode(TEXTS), np.concatenate([encoder.encode([t]) for t in TEXTS]), atol=1e-6
    )


@pytest.mark.parametrize("family", ["roberta", "mpnet"])
def test_adapters_of_zero_change_nothing_and_train_as_they_serve(tmp_path, family):
    encoder = load_encoder(str(write_encoder(tmp_path / family, family=family)))
    adapters = encoder.init_adapters(jax.random.key(0), 2, 1)
    plain = encoder.encode(TEXTS[1:2])
    np.testing.assert_array_equal(encoder.adapted(adapters).encode(TEXTS[1:2]), plain)
    moved = jax.tree.map(lambda leaf: leaf + 0.1, adapters)
    served = encoder.adapted(moved).encode(TEXTS[1:2])
    assert np.abs(served - plain).max() > 1e-3
    ids = np.array(encoder.windows(TEXTS[1:2], 12)[0], np.int32)
    lengths = np.array([ids.shape[1]], np.int32)
    trained = encoder.forward(encoder.join(encoder.params, moved), ids, lengths)
    np.testing.assert_allclose(encoder.normalized(np.asarray(trained)), served, atol=1e-5)


def test_distance_buckets_are_exact_near_and_logarithmic_far():
    buckets = distance_buckets(400)
    assert buckets[200, 200:210].tolist() == [0, 17, 18, 19, 20, 21, 22, 23, 24, 24]
    assert buckets[200, 200:190:-1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    # Beyond 8 each of the 8 buckets of a side is 16^(1/8) = 1.41 times as far as the one before.
    assert [buckets[200, 200 + d] for d in (12, 16, 23, 32, 64, 128, 199)] == [25, 26, 27, 28, 30, 31, 31]
