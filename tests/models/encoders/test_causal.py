"""A language model as encoder gives the hidden states of transformers on torch."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from tiny_decoder import LLAMA, write_decoder

from fspo_jax.config import EncoderConfig, HiddenLayerConfig, SentenceConfig
from fspo_jax.errors import EncoderError
from fspo_jax.models.encoders.load import load_encoder
from fspo_jax.models.features.make import make_featurizer

TEXTS = ["", "the cat", "a dog sat on the mat and ran far away", "東京 😀", "good " * 9, "the <s> cat </s>"]
QWEN = dataclasses.replace(LLAMA, family="qwen3", qk_norm=True, tied=False)
GEMMA = dataclasses.replace(
    LLAMA,
    family="gemma3_text",
    activation="gelu_pytorch_tanh",
    qk_norm=True,
    post_norms=True,
    norm_offset=1.0,
    embedding_scale=4.0,
    window=5,
    local_layers=(True, True, False),
    local_rope_theta=1_000.0,
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_decoder(tmp_path_factory.mktemp("decoder") / "llama")


def reference(directory, texts, layer, pooling):
    """Pooled states of a layer by transformers on torch, a text at a time."""
    torch = pytest.importorskip("torch", reason="parity needs torch (CPU), which scripts/test.sh brings")
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    rows = []
    for text in texts:
        with torch.no_grad():
            ids = torch.tensor([tokenizer.encode(text).ids or [0]])
            states = model(input_ids=ids, output_hidden_states=True).hidden_states[layer][0]
        rows.append((states.mean(0) if pooling == "mean" else states[-1]).numpy())
    return np.stack(rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch and transformers warn on import
@pytest.mark.parametrize("architecture", [LLAMA, QWEN, GEMMA], ids=lambda a: a.family)
def test_encode_tiny_decoders_equal_torch(tmp_path, architecture):
    directory = write_decoder(tmp_path / "m", architecture)
    for layer, pooling in ((1, "mean"), (2, "last"), (3, "last"), (0, "mean")):
        encoder = load_encoder(str(directory), layer=layer, pooling=pooling)
        assert encoder.layers == (layer or 3)
        theirs = reference(directory, TEXTS, layer or 3, pooling)
        np.testing.assert_allclose(encoder.encode(TEXTS), theirs, atol=1e-4)
    states = load_encoder(str(directory)).encode(TEXTS, (2, 3))[:, 16:]
    for columns, layer in ((states[:, :16], 2), (states[:, 16:], 3)):
        theirs = reference(directory, TEXTS, layer, "mean")
        theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
        np.testing.assert_allclose(columns, theirs, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_encode_smollm2_equals_torch():
    from fspo_jax.models.pretrained.locate import find_model

    try:
        directory = find_model("smollm2-135m", error=EncoderError)
    except EncoderError as missing:
        pytest.skip(str(missing))
    texts = ["Hello!", "naïve café — 東京 😀", "def f(x):\n\treturn x  # <b>\n", "word " * 40]
    for layer, pooling in ((12, "mean"), (0, "last")):
        ours = load_encoder("smollm2-135m", layer=layer, pooling=pooling).encode(texts)
        theirs = reference(directory, texts, layer or 30, pooling)
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())


def test_encode_text_alone_equals_text_in_batch_for_decoders(llama):
    encoder = load_encoder(str(llama), layer=2, pooling="last")
    np.testing.assert_allclose(
        encoder.encode(TEXTS), np.concatenate([encoder.encode([t]) for t in TEXTS]), rtol=1e-4, atol=1e-4
    )


def test_layer_and_pooling_change_the_fingerprint_and_only_they(llama):
    found = {
        load_encoder(str(llama), layer=layer, pooling=pooling).fingerprint
        for layer, pooling in ((0, ""), (3, "mean"), (2, ""), (0, "last"))
    }
    assert len(found) == 3  # three layers and the mean are the default


def test_decoder_serves_blocks_and_the_cache(llama, tmp_path):
    config = EncoderConfig(str(llama), layer=2, pooling="last", cache=str(tmp_path / "cache"))
    featurizer = make_featurizer(config, (SentenceConfig(), HiddenLayerConfig(layer=1)))
    rows = featurizer(["?"] * len(TEXTS), TEXTS)
    assert rows.shape == (len(TEXTS), 32) and np.isfinite(rows).all()
    np.testing.assert_array_equal(featurizer(["?"], TEXTS[1:2]), rows[1:2])
    with pytest.raises(EncoderError, match=r"no hidden layer 3\. Its layers are numbered 1 to 2"):
        make_featurizer(config, (HiddenLayerConfig(layer=3),))


def test_decoder_refuses_what_it_cannot_do_by_name(llama, tmp_path):
    with pytest.raises(EncoderError, match=r"no hidden layer 4\. Its layers are numbered 1 to 3"):
        load_encoder(str(llama), layer=4)
    with pytest.raises(EncoderError, match="a Causal encoder has no adapters"):
        load_encoder(str(llama)).init_adapters(jax.random.key(0), 2, 1)
    directory = write_decoder(tmp_path / "m")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"is_causal": False}))
    with pytest.raises(EncoderError, match="is_causal = False"):
        load_encoder(str(directory))
