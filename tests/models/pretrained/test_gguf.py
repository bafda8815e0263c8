"""GGUF files become the Hugging Face files that they were made from."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.decoder.architecture import read_architecture
from fspo_jax.models.language.decoder.files import load_decoder
from fspo_jax.models.language.decoder.network import decoder_shapes
from fspo_jax.models.pretrained.locate import find_model
from fspo_jax.text.tokenizer import TextTokenizer

gguf = pytest.importorskip("gguf", reason="GGUF files need the package gguf")

WIDTH, MLP, HEADS, KV_HEADS, LAYERS = 256, 512, 4, 2, 2
TRAINED = json.loads(TextTokenizer.train(["the cat sat on the mat", "12 34  "] * 2, 280).definition)["model"]
TOKENS = [*sorted(TRAINED["vocab"], key=TRAINED["vocab"].get), "<end>", "<|im_end|>"]
FAMILIES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3": "gemma3_text"}
STEPS = {"F32": 0.0, "F16": 2.0**-11, "BF16": 2.0**-8, "Q8_0": 1 / 127, "Q4_0": 1 / 8, "Q4_1": 2 / 15}
"""Largest error of each type, as a share of the largest value of a block."""


def tensors_of(family: str) -> dict[str, np.ndarray]:
    """Random weights under the names of Hugging Face."""
    generator = np.random.default_rng(0)
    width = WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (WIDTH, WIDTH),
        "self_attn.k_proj.weight": (KV_HEADS * width, WIDTH),
        "self_attn.v_proj.weight": (KV_HEADS * width, WIDTH),
        "self_attn.o_proj.weight": (WIDTH, WIDTH),
        "mlp.gate_proj.weight": (MLP, WIDTH),
        "mlp.up_proj.weight": (MLP, WIDTH),
        "mlp.down_proj.weight": (WIDTH, MLP),
        "input_layernorm.weight": (WIDTH,),
        "post_attention_layernorm.weight": (WIDTH,),
    }
    if family == "qwen2":
        shapes |= {f"self_attn.{x}_proj.bias": (n * width,) for x, n in zip("qkv", (4, 2, 2), strict=True)}
    if family in ("qwen3", "gemma3"):
        shapes |= {"self_attn.q_norm.weight": (width,), "self_attn.k_norm.weight": (width,)}
    if family == "gemma3":
        shapes |= {f"{x}_feedforward_layernorm.weight": (WIDTH,) for x in ("pre", "post")}
    shapes = {f"model.layers.{i}.{name}": shape for i in range(LAYERS) for name, shape in shapes.items()}
    shapes |= {"model.embed_tokens.weight": (len(TOKENS), WIDTH), "model.norm.weight": (WIDTH,)}
    if family == "llama":
        shapes["lm_head.weight"] = (len(TOKENS), WIDTH)
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def as_llama_cpp(name: str, values: np.ndarray, family: str) -> np.ndarray:
    """As `convert_hf_to_gguf.py` changes values."""
    heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2])
    if family == "llama" and heads:
        return values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    return values + 1 if family == "gemma3" and name.endswith("norm.weight") else values


def write_gguf(path: Path, family: str, kind: str = "F32", **changes: Any) -> dict[str, np.ndarray]:
    """Writes a GGUF file with names from the package's own table; returns its tensors under Hugging Face names."""
    from gguf.quants import quantize

    tensors = tensors_of(family)
    writer = gguf.GGUFWriter(path, family)
    names = gguf.get_tensor_name_map(_architecture(family), LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(50_000.0)
    if family == "gemma3":
        writer.add_sliding_window(16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(changes.pop("pre", "smollm"))
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 2) + [3, 3])
    writer.add_token_merges([" ".join(pair) for pair in TRAINED["merges"]])
    writer.add_eos_token_id(TOKENS.index("<end>"))
    writer.add_bos_token_id(TOKENS.index("<end>"))
    writer.add_add_bos_token(changes.pop("add_bos", False))
    writer.add_chat_template("{{ messages }}")
    if "rope_freqs" in changes:
        writer.add_tensor("rope_freqs.weight", changes.pop("rope_freqs"))
    for name, value in changes.items():
        add = {str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}[type(value)]
        add(name if "." in name else f"{family}.{name.replace('__', '.')}", value)
    for name, values in tensors.items():
        stem, _, last = name.rpartition(".")
        of = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
        data = as_llama_cpp(name, values, family)
        writer.add_tensor(f"{names.get_name(stem)}.{last}", quantize(data, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def _architecture(family: str) -> Any:
    return next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family)


@pytest.mark.parametrize("family", FAMILIES)
def test_convert_gguf_gives_the_tensors_and_config_it_was_made_from(tmp_path, family):
    tensors = write_gguf(tmp_path / "m.gguf", family)
    directory = find_model(tmp_path / "m.gguf", cache=tmp_path)
    found = load_file(directory / "model.safetensors")
    assert found.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_allclose(found[name], values, atol=3e-7, err_msg=name)
    config = json.loads((directory / "config.json").read_text())
    assert config["model_type"] == FAMILIES[family]
    assert config["tie_word_embeddings"] is (family != "llama")
    assert config["eos_token_id"] == [TOKENS.index("<end>"), TOKENS.index("<|im_end|>")]
    assert (config["head_dim"], config["vocab_size"]) == (WIDTH // HEADS, len(TOKENS))
    assert find_model(tmp_path / "m.gguf", cache=tmp_path) == directory
    architecture = read_architecture(directory)  # no key that we write is refused
    loaded = load_decoder(directory, architecture, decoder_shapes(architecture))
    key = tensors["model.layers.1.self_attn.k_proj.weight"]
    np.testing.assert_allclose(loaded["layers"]["key"]["weight"][1].T, key, atol=3e-7)


@pytest.mark.parametrize("kind", STEPS)
def test_convert_gguf_dequantises(tmp_path, kind):
    tensors = write_gguf(tmp_path / "m.gguf", "llama", kind)
    found = load_file(find_model(tmp_path / "m.gguf", cache=tmp_path) / "model.safetensors")
    name = "model.layers.1.self_attn.q_proj.weight"
    assert found[name].dtype == {"F16": "float16", "BF16": "bfloat16"}.get(kind, "float32")
    blocks = np.abs(tensors[name].reshape(-1, 32)).max(1, keepdims=True)
    error = np.abs(found[name].astype(np.float32) - tensors[name]).reshape(-1, 32)
    assert (error <= STEPS[kind] * blocks + 1e-7).all()
    assert kind == "F32" or error.max() > 0


@pytest.mark.parametrize("kind", ["Q4_K", "Q6_K"])
def test_convert_gguf_k_types_are_read_in_place(tmp_path, kind):
    """Random bytes: the package has no quantiser of these types. Rows must come out in their order."""
    of = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[of]
    generator = np.random.default_rng(0)
    raw = generator.integers(0, 255, (WIDTH, WIDTH // block * size), np.uint8)
    for place in {"Q4_K": (0, 2), "Q6_K": (size - 2,)}[kind]:  # the scales, float16
        raw.reshape(-1, size)[:, place : place + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    from gguf.quants import dequantize

    changed = "model.layers.0.self_attn.o_proj.weight"
    original = gguf.GGUFWriter.add_tensor

    def add_tensor(self: Any, name: str, data: Any, raw_dtype: Any = None) -> None:
        if name == "blk.0.attn_output.weight":
            data, raw_dtype = raw, of
        original(self, name, data, raw_dtype=raw_dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "add_tensor", add_tensor)
        write_gguf(tmp_path / "m.gguf", "llama")
    found = load_file(find_model(tmp_path / "m.gguf", cache=tmp_path) / "model.safetensors")[changed]
    assert found.shape == (WIDTH, WIDTH)
    np.testing.assert_array_equal(found[7], dequantize(raw[7:8], of)[0])


def test_convert_gguf_tokenizer_splits_digits_and_adds_the_beginning(tmp_path):
    from transformers import AutoTokenizer

    write_gguf(tmp_path / "m.gguf", "llama", add_bos=True)
    tokenizer = AutoTokenizer.from_pretrained(str(find_model(tmp_path / "m.gguf", cache=tmp_path)))
    assert tokenizer.tokenize("the cat  56<end>") == ["the", "Ġcat", "ĠĠ", "5", "6", "<end>"]
    assert tokenizer("the").input_ids == [TOKENS.index("<end>"), TOKENS.index("the")]
    assert tokenizer.chat_template == "{{ messages }}"
    text = "naïve  café\n\n\t东京 😀 <b>"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": "unheard-of"}, "tokenizer.ggml.pre = 'unheard-of'"),
        ({"expert_count": 4}, "mixtures of experts"),
        ({"residual_scale": 2.0}, r"not supported: residual_scale = 2\.0"),
        ({"split.count": 3}, "one of several files"),
        ({"rope__dimension_count": 8}, "only a part is rotated"),
        ({"rope__scaling__type": "longrope"}, "rotary scaling 'longrope'"),
    ],
)
def test_convert_gguf_what_is_not_supported_is_named(tmp_path, changes, message):
    write_gguf(tmp_path / "m.gguf", "llama", **changes)
    with pytest.raises(CheckpointError, match=rf"m\.gguf: .*{message}"):
        find_model(tmp_path / "m.gguf", cache=tmp_path)


def test_convert_gguf_scaled_rotations_are_read(tmp_path):
    scaling = {"type": "yarn", "factor": 4.0, "original_context_length": 128, "yarn_beta_fast": 16.0}
    write_gguf(
        tmp_path / "m.gguf", "qwen2", **{f"rope__scaling__{key}": value for key, value in scaling.items()}
    )
    found = read_architecture(find_model(tmp_path / "m.gguf", cache=tmp_path)).rope_scaling
    assert found is not None and (found.kind, found.factor, found.original_positions) == ("yarn", 4.0, 128)
    assert (found.low, found.high) == (1.0, 16.0)
    write_gguf(tmp_path / "m.gguf", "gemma3", rope__scaling__type="linear", rope__scaling__factor=8.0)
    architecture = read_architecture(find_model(tmp_path / "m.gguf", cache=tmp_path))
    assert architecture.rope_scaling is not None and architecture.rope_scaling.factor == 8.0
    assert architecture.local_rope_theta == 10_000.0 and architecture.window == 16


def test_convert_gguf_changed_bytes_give_a_model_or_an_error_of_the_package(tmp_path):
    write_gguf(tmp_path / "m.gguf", "llama")
    data, generator = (tmp_path / "m.gguf").read_bytes(), np.random.default_rng(1)
    header = data.index(b"blk.1.ffn_down")
    for _ in range(60):
        changed = np.frombuffer(data, np.uint8).copy()
        places = generator.integers(0, header, generator.integers(1, 5))
        changed[places] = generator.integers(0, 256, len(places))
        (tmp_path / "m.gguf").write_bytes(changed.tobytes())
        with contextlib.suppress(CheckpointError):
            find_model(tmp_path / "m.gguf", cache=tmp_path)


def test_convert_gguf_rotary_factors_are_those_of_llama_3_or_refused(tmp_path):
    """Llama 3.1 stores the divisors of the frequencies as a tensor."""
    frequency = 50_000.0 ** -(np.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
    turns = 8192 * frequency / (2 * np.pi)
    divisors = 1 / np.where(turns < 1, 1 / 8, np.where(turns > 4, 1, (turns - 1) / 3 * 7 / 8 + 1 / 8))
    write_gguf(tmp_path / "m.gguf", "llama", rope_freqs=divisors.astype(np.float32))
    config = json.loads((find_model(tmp_path / "m.gguf", cache=tmp_path) / "config.json").read_text())
    rope = config["rope_parameters"]
    assert rope["rope_type"] == "llama3" and rope["factor"] == pytest.approx(8.0)
    write_gguf(tmp_path / "m.gguf", "llama", rope_freqs=divisors[::-1].astype(np.float32).copy())
    with pytest.raises(CheckpointError, match="rotary factors"):
        find_model(tmp_path / "m.gguf", cache=tmp_path)


def test_convert_gguf_cut_short_is_damage(tmp_path):
    write_gguf(tmp_path / "m.gguf", "qwen3")
    data = (tmp_path / "m.gguf").read_bytes()
    for size in (10, 200, 3000, len(data) // 2, len(data) - 100):
        (tmp_path / "m.gguf").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match="damaged"):
            find_model(tmp_path / "m.gguf", cache=tmp_path)
    assert not list((tmp_path / "models").glob("gguf*"))
