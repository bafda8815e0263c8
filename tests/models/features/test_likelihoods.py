"""How likely responses are under a language model, and the block made of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_decoder import write_decoder
from tiny_encoder import write_encoder
from tokenizers import Tokenizer, decoders

from fspo_jax.config import EncoderConfig, LogLikelihoodConfig, StyleConfig
from fspo_jax.errors import EncoderError
from fspo_jax.models.features.attributes import ATTRIBUTES, TOKENS, Attributes
from fspo_jax.models.features.attributes import SCALE as SCALE_OF_ATTRIBUTES
from fspo_jax.models.features.contract import Items
from fspo_jax.models.features.likelihoods import PROMPT_TOKENS, RESPONSE_TOKENS, Likelihoods
from fspo_jax.models.features.log_likelihood import CENTRE, EXPLAINED, SCALE
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.types import Message, TokenLayout

CHATML = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\n' + message['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
TALK = (Message("user", "a cat"), Message("assistant", "sat"), Message("user", "why?"))
PROMPTS = ["the cat", "", TALK, "good " * 60]
RESPONSES = ["sat on the mat", "", "東京 😀", "</s><s>user\nbad", "far away " * 30, "x", "sat"]
ITEMS = [(prompt, response) for prompt in PROMPTS for response in RESPONSES]


def language_model(directory, template):
    """A tiny decoder with a tokenizer that reads its tokens back, and a chat format."""
    file = str(write_decoder(directory) / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(file)
    (directory / "chat_template.jinja").write_text(template)
    return directory


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return language_model(tmp_path_factory.mktemp("decoder") / "tiny", CHATML)


@pytest.fixture(scope="module")
def model(directory):
    return Likelihoods(str(directory))


@pytest.fixture(scope="module")
def expected(model):
    """Mean log-probability of a response by itself: all logits of one sequence."""

    @jax.jit
    def logits(params, tokens, length):
        real = (jnp.arange(512) < length).astype(jnp.int32)[None]
        layout = TokenLayout(jnp.arange(512)[None] * real, real, 0 * real, 0 * real)
        network = model._model.network(params)
        return jax.nn.log_softmax(network(tokens[None], layout)[0][0] @ network.output_matrix().T)

    def mean(prompt, response):
        before, after = (np.frombuffer(one, np.int32) for one in (prompt, response))
        tokens = np.concatenate([before, after])
        padded = np.pad(tokens, (0, 512 - len(tokens)))
        found = np.asarray(logits(model._model.params, padded, len(tokens)))
        return found[np.arange(len(before) - 1, len(tokens) - 1), after].mean()

    return mean


def test_means_equal_those_of_each_response_alone_whatever_stands_beside_it(model, expected):
    prompts = model.prompts([prompt for prompt, _ in ITEMS])
    responses = model.responses([response for _, response in ITEMS], RESPONSE_TOKENS)
    wanted = [expected(*item) for item in zip(prompts, responses, strict=True)]
    np.testing.assert_allclose(model.means(prompts, responses), wanted, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(ITEMS))
    for part in (order[:1], order[:5], np.concatenate([order, order[:3]])):
        found = model.means([prompts[i] for i in part], [responses[i] for i in part])
        np.testing.assert_allclose(found, np.array(wanted)[part], atol=1e-5)


def test_long_prompts_lose_their_beginning_and_long_responses_their_end(model, expected):
    prompts, responses = ["x" * 400 + "the cat", "the cat"], ["sat " * 300, "sat " * 64]
    found = model.prompts(prompts)
    assert [len(one) // 4 for one in found] == [PROMPT_TOKENS, len(found[1]) // 4]
    cut = model.responses(responses, RESPONSE_TOKENS)
    assert cut[0] == cut[1] and len(cut[0]) == 4 * RESPONSE_TOKENS
    assert model.means(found[:1], cut[:1]) == pytest.approx(expected(found[0], cut[0]), abs=1e-5)


def test_block_has_two_named_columns_of_each_item(directory, tmp_path, expected, model):
    write_encoder(tmp_path / "m")
    config = EncoderConfig(str(tmp_path / "m"), cache=str(tmp_path / "cache"))
    features = (LogLikelihoodConfig(model=str(directory)), StyleConfig())
    featurizer = make_featurizer(config, features)
    assert tuple(featurizer.columns["log_likelihood_tiny"]) == ("log_likelihood", "explained_by_prompt")
    prompts, responses = zip(*ITEMS, strict=True)
    rows = featurizer(prompts, responses)[:, -2:]
    given, alone = (
        np.array([
            expected(prompt, response)
            for prompt, response in zip(
                model.prompts(asked), model.responses(responses, RESPONSE_TOKENS), strict=True
            )
        ])
        for asked in (prompts, [""] * len(prompts))
    )  # fmt: skip
    np.testing.assert_allclose(rows[:, 0], (given - CENTRE) / SCALE, atol=1e-4)
    np.testing.assert_allclose(rows[:, 1], (given - alone) / EXPLAINED, atol=1e-4)
    again = make_featurizer(config, features)
    again._item_blocks[0].values = lambda items: pytest.fail("computed again")
    np.testing.assert_array_equal(again(prompts, responses)[:, -2:], rows)


def test_attributes_compare_the_prompt_with_and_without_each_instruction(model, expected):
    block = Attributes("attributes", model)
    prompts, responses = ["the cat", TALK], ["sat on the mat", "far away " * 30]
    nothing = np.zeros((2, 0))
    rows = block.values(Items(prompts, responses, nothing, nothing))
    assert rows.shape == (2, len(block.columns)) and len(set(block.columns)) == block.width
    read = model.responses(responses, TOKENS)
    plain = [expected(*item) for item in zip(model.prompts(prompts), read, strict=True)]
    for name in ("brief", "structured"):
        asked = model.prompts(prompts, ATTRIBUTES[name])
        given = [expected(*item) for item in zip(asked, read, strict=True)]
        found = rows[:, list(block.columns).index(name)]
        np.testing.assert_allclose(found, np.subtract(given, plain) / SCALE_OF_ATTRIBUTES, atol=1e-4)


def test_fingerprint_follows_weights_tokens_and_the_chat_format(directory, tmp_path, model):
    assert Likelihoods(str(directory)).fingerprint == model.fingerprint
    other = language_model(tmp_path / "other", CHATML.replace("assistant", "answer"))
    assert Likelihoods(str(other)).fingerprint != model.fingerprint


def test_model_that_is_no_language_model_raises(tmp_path):
    with pytest.raises(EncoderError, match="bert"):
        Likelihoods(str(write_encoder(tmp_path / "m")))
    with pytest.raises(EncoderError, match="is not a directory"):
        Likelihoods(str(tmp_path / "absent"))


@pytest.mark.slow
def test_smollm2_numbers_are_those_of_transformers_on_torch():
    """Computed once with transformers 5.23 on the dequantised weights: the mean log-probability of the answer."""
    try:
        smollm2 = Likelihoods("smollm2-135m")
    except EncoderError as missing:
        pytest.skip(str(missing))
    prompts = smollm2.prompts(["What is the capital of France?"] * 2)
    found = smollm2.means(
        prompts, smollm2.responses(["The capital of France is Paris.", "Bananas are blue."], 256)
    )
    np.testing.assert_allclose(found, [-0.36844, -6.25772], atol=1e-3)
