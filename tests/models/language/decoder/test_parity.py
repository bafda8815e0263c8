"""The decoder against transformers on torch: tiny random models of every family, and files in and out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.decoder import files
from fspo_jax.models.language.decoder.architecture import read_architecture
from fspo_jax.models.language.decoder.files import load_decoder, save_decoder
from fspo_jax.models.language.decoder.network import Decoder
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
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": False}),
    "llama3": ("LlamaConfig", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "smollm2": ("LlamaConfig", {"num_attention_heads": 4, "num_key_value_heads": 4, "rope_theta": 100_000.0}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma3": (
        "Gemma3TextConfig",
        {"head_dim": 16, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"] * 1
         + ["sliding_attention"], "query_pre_attn_scalar": 24},
    ),
}  # fmt: skip


def torch_model(family: str) -> Any:
    import transformers

    name, extra = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, name)(**SMALL | extra, attn_implementation="eager")
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
    shapes = jax.eval_shape(init, jax.random.key(0))
    return architecture, bind, shapes


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_those_of_transformers(family: str, tmp_path: Path) -> None:
    model = torch_model(family)
    model.save_pretrained(tmp_path)
    architecture, bind, shapes = decoder_of(tmp_path)
    params = load_decoder(tmp_path, architecture, shapes)
    rows, length = 3, 40
    tokens = np.random.default_rng(0).integers(0, 97, (rows, length))
    real = np.ones((rows, length), bool)
    real[1, :9] = False  # left padding
    real[2, 30:] = False
    for start in (0, 3_000):
        positions = start + np.cumsum(real, 1).clip(1) - 1
        with torch.no_grad():
            expected = model(
                input_ids=torch.tensor(tokens),
                attention_mask=torch.tensor(real.astype(np.int64)),
                position_ids=torch.tensor(positions),
            ).logits.numpy()
        decoder = bind(params)
        hidden, _ = decoder(jnp.asarray(tokens), chain(positions, real))
        logits = np.asarray(hidden @ decoder.output_matrix().T)
        np.testing.assert_allclose(logits[real], expected[real], atol=1e-4, rtol=1e-4)


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


def test_load_bfloat16_keeps_values_and_casts_to_float32(tmp_path: Path) -> None:
    model = torch_model("qwen2").to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    architecture, _, shapes = decoder_of(tmp_path)
    params = load_decoder(tmp_path, architecture, shapes, dtype=np.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    stored = model.state_dict()["model.layers.1.mlp.up_proj.weight"].float().numpy()
    np.testing.assert_array_equal(np.asarray(params["layers"]["up_proj"]["weight"][1]).T, stored)


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
