"""Decoder files without torch: what loading costs the host."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_decoder import LLAMA

from fspo_jax.errors import CheckpointError
from fspo_jax.models.language.decoder import files
from fspo_jax.models.language.decoder.architecture import read_architecture
from fspo_jax.models.language.decoder.files import load_decoder, save_decoder
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.scorers.contract import pure_module
from fspo_jax.partitioning import make_mesh, parameter_sharding

WIDE = dataclasses.replace(LLAMA, vocabulary=64, width=256, mlp_width=1024, layers=8, head_width=64)


@pytest.mark.parametrize("divided", [False, True])
def test_load_decoder_host_peak_stays_below_the_largest_file(
    divided: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = pure_module(lambda rngs: Decoder(WIDE, 0, rngs))[0](jax.random.key(0))
    monkeypatch.setattr(files, "SHARD_BYTES", 2 * 2**20)
    save_decoder(tmp_path, WIDE, params)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert sum(sizes) > 10 * max(sizes)
    mesh = make_mesh(1, 1, 1)

    def load() -> dict:
        return load_decoder(
            tmp_path,
            WIDE,
            params,
            sharding=(lambda *key: parameter_sharding(mesh, *key)) if divided else None,
        )

    load()  # compiles
    tracemalloc.start()
    try:
        loaded = load()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    jax.tree.map(np.testing.assert_array_equal, params, loaded)
    assert peak < 1.2 * max(sizes)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "cannot be read"),
        ("{}", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"weight_map": []}', "cannot be read"),
        ('{"weight_map": {"model.norm.weight": 3}}', "cannot be read"),
        ('{"weight_map": {"model.norm.weight": "gone.safetensors"}}', "not there: gone.safetensors"),
        ('{"weight_map": {"model.norm.weight": "../x.safetensors"}}', "not there: ../x.safetensors"),
    ],
)
def test_load_decoder_with_a_damaged_index_raises(index: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / files.INDEX).write_text(index)
    (tmp_path / "x.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=message):
        load_decoder(tmp_path / "model", LLAMA, {})


@pytest.mark.parametrize("kind", ["evil", "llama"])
def test_code_of_a_checkpoint_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def agreed(question: str = "") -> str:
        return "y"

    monkeypatch.setattr("builtins.input", agreed)
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    config = {"model_type": kind, "auto_map": {"AutoConfig": "code.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="'evil' is not supported" if kind == "evil" else "auto_map"):
        read_architecture(tmp_path)
    assert not (tmp_path / "ran").exists()
