"""The decoder against transformers on torch: tiny random models of every family, and files in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import states_of_layers

from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.decoder import files
from fspo_jax.models.language.decoder.architecture import hugging_face_config, read_architecture
from fspo_jax.models.language.decoder.attention import soft_bound
from fspo_jax.models.language.decoder.end_tokens import read_end_tokens
from fspo_jax.models.language.decoder.files import load_decoder, save_decoder
from fspo_jax.models.language.decoder.network import Decoder, decoder_shapes
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.types import TokenLayout

torch = pytest.importorskip("torch", reason="parity needs torch")

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 500_000.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "rope_theta": 10_000.0}
GEMMA = {
    "head_dim": 16,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "query_pre_attn_scalar": 24,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "llama3": ("LlamaConfig", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "smollm2": ("LlamaConfig", {"num_attention_heads": 4, "num_key_value_heads": 4, "rope_theta": 100_000.0}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma3": ("Gemma3TextConfig", GEMMA),
    "biases": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}),
    "qwen3 biases": ("Qwen3Config", {"head_dim": 16, "attention_bias": True}),
    "linear": ("LlamaConfig", {"rope_parameters": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4}}),
    "dynamic": (
        "LlamaConfig",
        {
            "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
            "max_position_embeddings": 24,
        },
    ),
    "yarn": ("Qwen2Config", {"rope_parameters": YARN}),
    "yarn of DeepSeek": (
        "LlamaConfig",
        {
            "rope_parameters": YARN
            | {"mscale": 1.2, "mscale_all_dim": 0.7, "beta_fast": 16, "truncate": False}
        },
    ),
    "yarn factor": ("Qwen3Config", {"head_dim": 16, "rope_parameters": YARN | {"attention_factor": 1.5}}),
    "window of Qwen": (
        "Qwen2Config",
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1, "rope_parameters": LLAMA3},
    ),
    "softcaps": (
        "Gemma2Config",
        GEMMA | {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 1.5, "attention_bias": True},
    ),
    "gemma3 4b": (
        "Gemma3TextConfig",
        GEMMA
        | {
            "final_logit_softcapping": 2.0,
            "attention_bias": True,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        },
    ),
}
"""Every family, and every switch that the decoder computes."""


def torch_config(name: str, **changes: Any) -> Any:
    import transformers

    kind, extra = MODELS[name]
    return getattr(transformers, kind)(**SMALL | extra | changes, eos_token_id=7, attn_implementation="eager")


def torch_model(name: str) -> Any:
    import transformers

    torch.manual_seed(0)
    config = torch_config(name)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():  # larger than the usual start, so that errors show
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def chain(positions: np.ndarray, real: np.ndarray) -> TokenLayout:
    zero = jnp.zeros(real.shape, jnp.int32)
    return TokenLayout(jnp.asarray(positions), jnp.asarray(real, jnp.int32), zero, zero)


def decoder_of(directory: Path) -> tuple[Any, Any, Any]:
    architecture = read_architecture(directory)
    init, bind = pure_module(lambda rngs: Decoder(architecture, 0, rngs))
    return architecture, bind, jax.eval_shape(init, jax.random.key(0))


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = torch_model(name)
    model.save_pretrained(tmp_path)
    architecture, bind, shapes = decoder_of(tmp_path)
    params = load_decoder(tmp_path, architecture, shapes)
    rows, length = 3, 40
    tokens = np.random.default_rng(0).integers(0, 97, (rows, length))
    real = np.ones((rows, length), bool)
    if name != "dynamic":  # whose numbers depend on the longest row of a batch in transformers
        real[1, :9] = False  # left padding
        real[2, 30:] = False

    @jax.jit
    def logits_of(params: Any, layout: TokenLayout) -> jax.Array:
        decoder = bind(params)
        hidden, _ = decoder(jnp.asarray(tokens), layout)
        return soft_bound(hidden @ decoder.output_matrix().T, architecture.logit_softcap)

    for start in (0, 3_000):
        positions = start + np.cumsum(real, 1).clip(1) - 1
        with torch.no_grad():
            expected = model(
                input_ids=torch.tensor(tokens),
                attention_mask=torch.tensor(real.astype(np.int64)),
                position_ids=torch.tensor(positions),
            ).logits.numpy()
        logits = np.asarray(logits_of(params, chain(positions, real)))
        np.testing.assert_allclose(logits[real], expected[real], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_hidden_states_of_every_layer_equal_those_of_transformers(name: str, tmp_path: Path) -> None:
    model = torch_model(name)
    model.save_pretrained(tmp_path)
    architecture = read_architecture(tmp_path)
    params = load_decoder(tmp_path, architecture, decoder_shapes(architecture))
    tokens = np.random.default_rng(0).integers(0, 97, (2, 12))
    mask = np.arange(12) < np.array([[12], [7]])
    with torch.no_grad():
        expected = model.model(
            torch.tensor(tokens),
            attention_mask=torch.tensor(mask.astype(np.int64)),
            output_hidden_states=True,
        ).hidden_states
    assert len(expected) == architecture.layers + 1
    embedded = params["embedding"][tokens] * architecture.embedding_scale
    each = states_of_layers(architecture, params, jnp.asarray(tokens), jnp.asarray(mask))
    for states, found in zip(expected, [np.where(mask[..., None], embedded, 0.0), *each], strict=True):
        np.testing.assert_allclose(found, np.where(mask[..., None], states, 0.0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_architecture_of_old_keys_and_of_our_own_config_is_the_same(name: str, tmp_path: Path) -> None:
    torch_config(name).save_pretrained(tmp_path)
    found = read_architecture(tmp_path)
    assert found.end_tokens == (7,)
    path = tmp_path / "config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(hugging_face_config(found)))
    assert read_architecture(tmp_path) == found
    rope = stored.pop("rope_parameters")
    if "full_attention" in rope:
        stored["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    stored["rope_theta"] = rope.pop("rope_theta")
    if rope["rope_type"] != "default":
        stored["rope_scaling"] = {"type": rope.pop("rope_type")} | rope
    path.write_text(json.dumps(stored))
    assert read_architecture(tmp_path) == found


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention = True"),
        ("llama", {"is_causal": False}, "is_causal = False"),
        ("llama", {"final_logit_softcapping": 30.0}, r"final_logit_softcapping = 30\.0"),
        ("qwen3", {"mlp_bias": True}, "mlp_bias = True"),
        ("llama", {"sliding_window": 128}, "sliding_window = 128"),
        ("llama", {"layer_types": ["sliding_attention"] * 3}, "layer_types"),
        ("qwen2", {"layer_types": ["linear_attention"] * 3}, "layer_types"),
        ("llama", {"residual_multiplier": 0.5, "logits_scaling": 8}, "2 keys .*logits_scaling = 8, residual_mult"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("llama", {"auto_map": {"AutoModelForCausalLM": "modeling.Own"}}, "auto_map"),
        ("llama", {"hidden_act": "relu"}, "activation 'relu'"),
        ("llama", {"rope_scaling": {"type": "ntk-by-parts", "factor": 2.0}}, "rotary scaling 'ntk-by-parts'"),
        ("llama", {"rope_parameters": LLAMA3 | {"mrope_section": [1, 1]}}, r"mrope_section = \[1, 1\]"),
        ("llama", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor = 0\.5"),
        ("llama", {"vocab_size": "many"}, "cannot be read|wrong"),
        ("gemma3", {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
         "sliding_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}}, "local layers"),
    ],
)  # fmt: skip
def test_read_architecture_what_is_not_computed_is_refused_by_name(
    name: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    torch_config(name).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(CheckpointError, match=message):
        read_architecture(tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"generation_config.json": {"eos_token_id": [5, 3, 5]}, "config.json": {"eos_token_id": 9}}, (5, 3)),
        ({"config.json": {"eos_token_id": 0}}, (0,)),
        ({"config.json": {"eos_token_id": [4]}, "tokenizer_config.json": {"eos_token": "<b>"}}, (4,)),
        ({"config.json": {}, "tokenizer_config.json": {"eos_token": "<b>"}}, (8,)),
        ({"config.json": {"eos_token_id": None}, "special_tokens_map.json": {"eos_token": {"content": "c"}}}, (2,)),
        ({"config.json": {}}, "no file says which token ends an answer"),
        ({"config.json": {}, "tokenizer_config.json": {"eos_token": "<unknown>"}}, "no file says"),
        ({"config.json": {"eos_token_id": [1, 97]}}, r"are \[1, 97\], but the ids of the model are 0 to 96"),
        ({"config.json": {"eos_token_id": "</s>"}}, "'</s>'"),
    ],
)  # fmt: skip
def test_read_end_tokens_never_guesses(
    files: dict[str, Any], expected: tuple[int, ...] | str, tmp_path: Path
) -> None:
    tokenizer = {"added_tokens": [{"id": 8, "content": "<b>"}], "model": {"vocab": {"c": 2}}}
    for name, content in (files | {"tokenizer.json": tokenizer}).items():
        (tmp_path / name).write_text(json.dumps(content))
    if isinstance(expected, tuple):
        assert read_end_tokens(tmp_path, 97) == expected
    else:
        with pytest.raises(CheckpointError, match=expected):
            read_end_tokens(tmp_path, 97)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_saved_decoder_loads_equal_and_opens_in_transformers(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    model = torch_model(family)
    model.save_pretrained(tmp_path / "theirs")
    architecture, _, shapes = decoder_of(tmp_path / "theirs")
    params = load_decoder(tmp_path / "theirs", architecture, shapes)
    monkeypatch.setattr(files, "SHARD_BYTES", 20_000)
    save_decoder(tmp_path / "ours", architecture, params)
    (tmp_path / "ours" / "config.json").write_bytes((tmp_path / "theirs" / "config.json").read_bytes())
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 2
    again = load_decoder(tmp_path / "ours", architecture, shapes)
    jax.tree.map(np.testing.assert_array_equal, params, again)
    reopened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, reopened.state_dict()[name]), name


@pytest.mark.parametrize("headless", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_load_half_precision_in_shards_with_and_without_head(
    dtype: str, headless: bool, tmp_path: Path
) -> None:
    model = torch_model("qwen2").to(getattr(torch, dtype))
    (model.model if headless else model).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    architecture, _, shapes = decoder_of(tmp_path)
    params = load_decoder(tmp_path, architecture, shapes, dtype=np.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    stored = model.state_dict()["model.layers.1.mlp.up_proj.weight"].float().numpy()
    np.testing.assert_array_equal(np.asarray(params["layers"]["up_proj"]["weight"][1]).T, stored)


def test_load_headless_with_a_head_of_its_own_says_what_is_missing(tmp_path: Path) -> None:
    torch_model("llama").model.save_pretrained(tmp_path)
    architecture, _, shapes = decoder_of(tmp_path)
    with pytest.raises(CheckpointError, match=r"1 tensor not as.*\n *missing lm_head\.weight"):
        load_decoder(tmp_path, architecture, shapes)
    load_decoder(tmp_path, architecture, decoder_shapes(architecture))


def test_load_wrong_tensors_lists_all_of_them(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    torch_model("qwen3").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    tensors["model.norm.weight"] = np.zeros(7, np.float32)
    tensors["model.layers.3.surprise"] = np.zeros(1, np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    architecture, _, shapes = decoder_of(tmp_path)
    with pytest.raises(CheckpointError) as error:
        load_decoder(tmp_path, architecture, shapes)
    for part in (
        "3 tensors",
        "missing model.layers.0.mlp.up_proj.weight [48, 32]",
        "unexpected model.layers.3.surprise",
    ):
        assert part in str(error.value)
    assert "model.norm.weight is [7], expected [32]" in str(error.value)


def test_architecture_of_unknown_family_names_the_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match=r"'gpt2' is not supported.*qwen3"):
        read_architecture(tmp_path)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        read_architecture(tmp_path / "nowhere")
