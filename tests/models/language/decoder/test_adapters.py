from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import random_layout

from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.decoder.adapters import (
    PEFT_CONFIG,
    join_adapters,
    load_adapters,
    merge_adapters,
    save_adapters,
    split_adapters,
)
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.network import Decoder
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
        CheckpointError, match=r"adapters? of another shape:[\s\S]*q_proj.lora_A.weight is \[3, 16\]"
    ):
        load_adapters(tmp_path, TINY, wrong)
