from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_language import tiny_config, tiny_parts
from trees import random_layout

from fspo_jax.checkpoints.language import read_base
from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.base import load_base
from fspo_jax.models.language.decoder.adapters import (
    adapter_shapes,
    join_adapters,
    merge_adapters,
    split_adapters,
)
from fspo_jax.models.language.decoder.architecture import Architecture, hugging_face_config
from fspo_jax.models.language.decoder.files import save_decoder
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.language.decoder.peft import PEFT_CONFIG, load_adapters, read_peft, save_adapters
from fspo_jax.models.scorers.contract import pure_module

TINY = Architecture(
    family="qwen3", vocabulary=50, width=16, mlp_width=24, layers=2, heads=4, kv_heads=2, head_width=8,
    rope_theta=10_000.0, norm_epsilon=1e-6, query_scale=8**-0.5, qk_norm=True,
)  # fmt: skip


def adapted() -> tuple[dict[str, Any], dict[str, Any]]:
    init, _ = pure_module(lambda rngs: Decoder(TINY, 3, rngs))
    base, adapters = split_adapters(init(jax.random.key(0)))
    return base, jax.tree.map(lambda leaf: leaf + 0.05, adapters)


def hidden(rank: int, params: Any) -> jax.Array:
    _, bind = pure_module(lambda rngs: Decoder(TINY, rank, rngs))
    tokens = jnp.arange(60)[None] % 50
    return bind(params)(tokens, random_layout(0, 1, 60))[0]


def test_merged_adapters_equal_adapters_beside() -> None:
    base, adapters = adapted()
    merged = merge_adapters(base, adapters)
    beside = hidden(3, join_adapters(base, adapters))
    np.testing.assert_allclose(hidden(0, merged), beside, atol=1e-5)
    assert np.abs(hidden(0, base) - beside).max() > 0.01
    undone = merge_adapters(merged, adapters, sign=-1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), undone, base)


def test_fresh_adapters_change_nothing() -> None:
    init, _ = pure_module(lambda rngs: Decoder(TINY, 3, rngs))
    params = init(jax.random.key(0))
    np.testing.assert_allclose(hidden(3, params), hidden(0, split_adapters(params)[0]), atol=1e-5)


def test_saved_adapters_load_equal_and_have_the_layout_of_peft(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    _, adapters = adapted()
    save_adapters(tmp_path, TINY, adapters, "some/base")
    jax.tree.map(np.testing.assert_array_equal, load_adapters(tmp_path, TINY, adapters), adapters)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert tensors["base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"].shape == (3, 24)
    assert tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"].shape == (32, 3)
    config = json.loads((tmp_path / PEFT_CONFIG).read_text())
    assert config["r"] == config["lora_alpha"] == 3 and "down_proj" in config["target_modules"]


def test_load_adapters_alpha_scales_and_wrong_rank_is_listed(tmp_path: Path) -> None:
    _, adapters = adapted()
    save_adapters(tmp_path, TINY, adapters)
    config = json.loads((tmp_path / PEFT_CONFIG).read_text()) | {"lora_alpha": 6}
    (tmp_path / PEFT_CONFIG).write_text(json.dumps(config))
    doubled = load_adapters(tmp_path, TINY, adapters)
    np.testing.assert_allclose(
        doubled["layers"]["gate"]["lora_b"], 2 * adapters["layers"]["gate"]["lora_b"], rtol=1e-6
    )
    wrong = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape[:-1], 5)), adapters)
    with pytest.raises(
        CheckpointError, match=r"14 adapters of another shape:[\s\S]*layers\.query\.lora_a is \[2, 16, 3\]"
    ):
        load_adapters(tmp_path, TINY, wrong)


def write_foreign(
    path: Path, config: dict[str, Any], ranks: dict[str, int], name: str = ""
) -> dict[str, Any]:
    """Adapters as PEFT writes them: `ranks` maps a module to its rank; returns the factors by module."""
    from safetensors.numpy import save_file

    sizes = {"self_attn.q_proj": (16, 32), "self_attn.v_proj": (16, 16), "mlp.down_proj": (24, 16)}
    generator = np.random.default_rng(0)
    tensors, factors = {}, {}
    for module, rank in ranks.items():
        inputs, outputs = sizes[module.partition(".")[2]]
        stem = f"base_model.model.model.layers.{module}"
        a, b = (generator.normal(size=size).astype(np.float16) for size in ((rank, inputs), (outputs, rank)))
        tensors |= {f"{stem}.lora_A{name}.weight": a, f"{stem}.lora_B{name}.weight": b}
        factors[module] = (a.astype(np.float32), b.astype(np.float32))
    path.mkdir(exist_ok=True)
    save_file(tensors, path / "adapter_model.safetensors")
    general = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "bias": "none",
        "modules_to_save": None,
        "use_dora": False,
    }
    (path / PEFT_CONFIG).write_text(json.dumps(general | config))
    return factors


@pytest.mark.parametrize(
    ("config", "ranks", "scales"),
    [
        ({}, {"0.self_attn.q_proj": 4, "1.self_attn.q_proj": 4, "1.mlp.down_proj": 4}, [2.0, 2.0, 2.0]),
        ({"use_rslora": True}, {"0.self_attn.q_proj": 4, "1.self_attn.v_proj": 4}, [4.0, 4.0]),
        (
            {
                "rank_pattern": {"down_proj": 2},
                "alpha_pattern": {"layers.1.self_attn.q_proj": 6, "q_proj": 10},
            },
            {"0.self_attn.q_proj": 4, "1.self_attn.q_proj": 4, "0.mlp.down_proj": 2},
            [10 / 4, 6 / 4, 8 / 2],
        ),
        (
            {
                "use_rslora": True,
                "rank_pattern": {r".*\.1\.self_attn\..*": 9},
                "alpha_pattern": {"down_proj": 3},
            },
            {"1.self_attn.v_proj": 9, "0.mlp.down_proj": 4},
            [8 / 3, 3 / 2],
        ),
    ],
)
def test_read_peft_merged_equals_the_formula_of_peft(
    config: dict[str, Any], ranks: dict[str, int], scales: list[float], tmp_path: Path
) -> None:
    modules = {"self_attn.q_proj": "query", "self_attn.v_proj": "value", "mlp.down_proj": "down_proj"}
    base, _ = adapted()
    factors = write_foreign(tmp_path, config, ranks, ".default" if "use_rslora" in config else "")
    merged = merge_adapters(base, read_peft(tmp_path, TINY))
    expected = jax.tree.map(lambda leaf: np.array(leaf), base)
    for (module, (a, b)), scale in zip(factors.items(), scales, strict=True):
        layer, _, name = module.partition(".")
        expected["layers"][modules[name]]["weight"][int(layer)] += (scale * b @ a).T
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), merged, expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, "use_dora = True"),
        ({"bias": "all"}, "bias = all"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "peft_type = IA3"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = pissa"),
        (
            {"fan_in_fan_out": True, "layer_replication": [[0, 2]]},
            "2 settings not supported: fan_in.*layer_repl",
        ),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"use_something_new": 1}, "use_something_new"),
        ({"r": 0}, "cannot be read"),
        ({"rank_pattern": {"(": 2}}, "cannot be read"),
        ({"alpha_pattern": {"q_proj": "x"}}, "cannot be read"),
        ({"rank_pattern": {"q_proj": 8}}, r"q_proj\.lora_A is \[4, 16\], expected \[8, 16\]"),
    ],
)
def test_read_peft_what_is_not_computed_is_refused_by_name(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_foreign(tmp_path, config, {"0.self_attn.q_proj": 4})
    with pytest.raises(CheckpointError, match=message):
        read_peft(tmp_path, TINY)


def test_read_peft_tensors_that_are_not_adapters_of_the_base_are_listed(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    write_foreign(tmp_path, {}, {"0.self_attn.q_proj": 4})
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    tensors |= {"base_model.model.lm_head.lora_A.weight": np.zeros((4, 16), np.float32)}
    tensors |= {
        "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": np.zeros((4, 16), np.float32)
    }
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"2 tensors not as in the base[\s\S]*lm_head[\s\S]*layers\.7"):
        read_peft(tmp_path, TINY)


def test_read_base_directory_of_peft_is_merged_into_the_base_it_names(tmp_path: Path) -> None:
    parts = tiny_parts(tiny_config())
    decoder = parts.model.init_decoder(jax.random.key(1))
    save_decoder(tmp_path / "base", parts.model.architecture, decoder)
    (tmp_path / "base" / "config.json").write_text(json.dumps(hugging_face_config(parts.model.architecture)))
    parts.tokenizer.save(tmp_path / "base")
    shapes = adapter_shapes(parts.model.architecture, 2)
    adapters = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(2), leaf.shape), shapes)
    save_adapters(tmp_path / "adapter", parts.model.architecture, adapters, str(tmp_path / "base"))
    base = read_base(tmp_path / "adapter")
    assert base.digest != read_base(tmp_path / "base").digest
    loaded = load_base(base, parts.model, 0, frozen=False)
    expected = merge_adapters(decoder, adapters)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), loaded, expected)
    # Adapters on adapters are merged one after the other, and none is forgotten.
    save_adapters(tmp_path / "second", parts.model.architecture, adapters, str(tmp_path / "adapter"))
    twice = load_base(read_base(tmp_path / "second"), parts.model, 0, frozen=False)
    both = merge_adapters(expected, adapters)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), twice, both)
    save_adapters(tmp_path / "adapter", parts.model.architecture, adapters, str(tmp_path / "second"))
    with pytest.raises(CheckpointError, match=r"is its own base.*change base_model_name_or_path"):
        read_base(tmp_path / "second")
