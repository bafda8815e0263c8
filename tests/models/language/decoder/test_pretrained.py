"""Real weights, as GGUF files from packages, against transformers on torch. Skipped where a package is absent."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_language import tiny_config
from trees import states_of_layers

from fspo_jax.checkpoints.language import read_base
from fspo_jax.models.language.base import load_base
from fspo_jax.models.language.decoder.architecture import Architecture, read_architecture
from fspo_jax.models.language.decoder.files import load_decoder
from fspo_jax.models.language.decoder.log_probabilities import token_log_probabilities
from fspo_jax.models.language.decoder.network import decoder_shapes
from fspo_jax.models.language.parts import make_parts
from fspo_jax.models.pretrained.locate import find_model
from fspo_jax.models.pretrained.packages import PACKAGES
from fspo_jax.text.packing import context_tokens, pack_episodes
from fspo_jax.types import Preference

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch", reason="parity needs torch")
pytest.importorskip("gguf", reason="the weights are GGUF files")

ENGLISH = (
    "The old lighthouse stood at the end of a narrow path, and every evening its keeper climbed the ninety-two steps "
    "to light the lamp. He knew the ships by their sound. In winter, when fog lay on the water for days, he would ring "
    "the bell by hand, once a minute, until the morning came.\n\nNobody had asked him to do it. "
)
CHAT = [
    {"role": "user", "content": "What is entropy? Answer in one line."},
    {
        "role": "assistant",
        "content": "A count, on a log scale, of the ways a thing can be.\n\n- more ways: more entropy",
    },
    {"role": "user", "content": "And in Chinese? 用一句话解释。"},
]
TEXTS = {
    "english": ENGLISH,
    "long": ENGLISH * 8,  # longer than the window of Gemma's local layers
    "chinese": "熵是衡量系统混乱程度的物理量。东京塔有三百三十三米高,晚上会亮灯。" * 3,
    "emoji": "Great job!! 🎉🎉 <b>naïve</b> café\t— 👩‍👩‍👧‍👦 1 + 12 ≠ 345\n\n\n   indented   spaces\r\n",
}


class Pretrained(NamedTuple):
    directory: Path
    architecture: Architecture
    params: Any
    tokenizer: Any
    torch_model: Any


@pytest.fixture(scope="module", params=["smollm2-135m", "gemma-3-270m"])
def pretrained(request: pytest.FixtureRequest) -> Iterator[Pretrained]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = request.param
    module = PACKAGES[name].files[0][0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"the weights of {name} are not installed: {PACKAGES[name].install}")
    directory = find_model(name)
    architecture = read_architecture(directory)
    model = AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    params = load_decoder(directory, architecture, decoder_shapes(architecture))
    yield Pretrained(directory, architecture, params, AutoTokenizer.from_pretrained(directory), model)


def ids_of(pretrained: Pretrained, name: str) -> list[int]:
    tokenizer = pretrained.tokenizer
    if name != "chat":
        return tokenizer(TEXTS[name]).input_ids
    if tokenizer.chat_template is None:
        pytest.skip("a base model without a chat template")
    return tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False)


@pytest.mark.parametrize("name", ["chat", *TEXTS])
def test_logits_of_real_weights_equal_those_of_transformers(pretrained: Pretrained, name: str) -> None:
    ids = np.array(ids_of(pretrained, name))
    places = np.unique(np.linspace(0, len(ids) - 1, 60).astype(int))
    with torch.no_grad():
        expected = (
            pretrained.torch_model(torch.tensor(ids[None]), logits_to_keep=torch.tensor(places))
            .logits[0]
            .numpy()
        )
    a, params = pretrained.architecture, pretrained.params
    states = states_of_layers(a, params, jnp.asarray(ids[None]), jnp.ones((1, len(ids)), bool))[-1]
    logits = states[0, places] @ params["embedding"].T
    np.testing.assert_allclose(logits, expected, atol=2e-4, rtol=0)


def test_perplexity_of_real_weights_equals_that_of_transformers(pretrained: Pretrained) -> None:
    ids = np.array(ids_of(pretrained, "english"))
    with torch.no_grad():
        expected = float(pretrained.torch_model(torch.tensor(ids[None]), labels=torch.tensor(ids[None])).loss)
    a, params = pretrained.architecture, pretrained.params
    states = states_of_layers(a, params, jnp.asarray(ids[None]), jnp.ones((1, len(ids)), bool))[-1]
    found = -float(token_log_probabilities(states[0, :-1], params["embedding"], jnp.asarray(ids[1:])).mean())
    assert abs(found - expected) < 1e-3
    assert found < 3.6, "a pretrained model predicts plain English"


@pytest.mark.parametrize("template", ["structured", "fspo_v1"])
def test_responses_in_a_row_have_the_probabilities_of_transformers(
    pretrained: Pretrained, template: str
) -> None:
    config = tiny_config("sft", "implicit", scorer={"template": template, "row_length": 512})
    base = read_base(pretrained.directory)
    parts = make_parts(config, base.architecture, base.tokenizer)
    decoder = load_base(base, parts.model, 0, frozen=False)
    shot = Preference(
        "Where do you want to live?", "By the sea, in a small house.", "In a tower.\n\n<b>High up!</b>"
    )
    query = Preference(
        "What do you read?", "Old letters,\n\tand maps of ships.", "Nothing at all, 我不看书。"
    )
    packing = pack_episodes(parts.template, [([shot], [query])], parts.form)
    ((row, pair),) = packing.places[0]
    found = parts.model.log_probabilities(decoder, packing.rows)[row, pair]
    laid = context_tokens(parts.template, [shot], parts.form)
    model = pretrained.torch_model
    own = model.get_input_embeddings().weight
    larger = torch.nn.Parameter(torch.tensor(np.asarray(decoder["embedding"])))  # with the structure tokens
    try:
        model.get_input_embeddings().weight = model.lm_head.weight = larger
        for text, ours in zip((query.chosen, query.rejected), np.asarray(found), strict=True):
            response = parts.template.response("", text)
            ids = np.concatenate([laid.tokens, parts.template.question(query.prompt), response])
            if pretrained.tokenizer.bos_token_id == pretrained.tokenizer("x").input_ids[0]:
                assert ids[0] == pretrained.tokenizer.bos_token_id
            with torch.no_grad():
                logs = model(torch.tensor(ids[None])).logits[0].log_softmax(-1)
            places = torch.arange(len(ids) - len(response), len(ids))
            theirs = logs[places - 1, torch.tensor(ids[-len(response) :])]
            assert abs(ours - float(theirs.sum())) / len(response) < 1e-4
    finally:
        model.get_input_embeddings().weight = model.lm_head.weight = own


def test_weights_and_tokenizer_equal_what_transformers_reads_from_the_gguf_file(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with accelerate")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = "smollm2-135m" if pretrained.architecture.family == "llama" else "gemma-3-270m"
    with open(tmp_path / "model.gguf", "wb") as file:
        for module, part in PACKAGES[name].files:
            place = importlib.util.find_spec(module).submodule_search_locations[0]  # type: ignore[union-attr]
            file.write(Path(place, part).read_bytes())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    state = theirs.state_dict()
    for key, tensor in pretrained.torch_model.state_dict().items():
        np.testing.assert_allclose(tensor.numpy(), state[key].numpy(), atol=1e-6, err_msg=key)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    for text in TEXTS.values():
        assert tokenizer(text).input_ids == pretrained.tokenizer(text).input_ids
    assert tokenizer.chat_template == pretrained.tokenizer.chat_template
