"""Low-rank adapters of a decoder: split from the base, merged into it, read from and written to files.

A matrix `W` becomes `W + A B`: `lora_a` is A, `[inputs, rank]`, and `lora_b` is B, `[rank, outputs]`. The scale of the
product is always 1: B includes any other scale.

Source: Hu et al. (2021), LoRA, arXiv 2106.09685.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fspo_jax.errors import CheckpointError, counted
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.files import flat_params, tensor_names
from fspo_jax.models.language.decoder.network import Decoder
from fspo_jax.models.scorers.contract import pure_module

FACTORS = ("lora_a", "lora_b")
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PEFT = {"lora_a": "lora_A", "lora_b": "lora_B"}

Tree = Mapping[str, Any]


def split_adapters(params: Tree) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits a parameter tree into base and adapters."""
    flat = flat_params(params)
    base = {key: leaf for key, leaf in flat.items() if key[-1] not in FACTORS}
    adapters = {key: leaf for key, leaf in flat.items() if key[-1] in FACTORS}
    return unflatten_dict(base), unflatten_dict(adapters)


def adapter_shapes(architecture: Architecture, rank: int) -> dict[str, Any]:
    """Shapes of the adapters of a decoder."""
    init, _ = pure_module(lambda rngs: Decoder(architecture, rank, rngs))
    return split_adapters(jax.eval_shape(init, jax.random.key(0)))[1]


def join_adapters(base: Tree, adapters: Tree) -> dict[str, Any]:
    """The inverse of `split_adapters`."""
    return unflatten_dict(flat_params(base) | flat_params(adapters))


def merge_adapters(base: Tree, adapters: Tree, *, sign: int = 1) -> dict[str, Any]:
    """Adds the products of the adapters to the matrices; `sign=-1` subtracts them."""
    flat, factors = flat_params(base), flat_params(adapters)
    for key in factors:
        if key[-1] == "lora_a":
            matrix = (*key[:-1], "weight")
            change = jnp.matmul(
                factors[key].astype(jnp.float32),
                factors[(*key[:-1], "lora_b")].astype(jnp.float32),
                precision=jax.lax.Precision.HIGHEST,
            )
            flat[matrix] = (flat[matrix].astype(jnp.float32) + sign * change).astype(flat[matrix].dtype)
    return unflatten_dict(flat)


def save_adapters(
    directory: str | Path, architecture: Architecture, adapters: Tree, base_name: str = ""
) -> None:
    """Writes adapters in the format of PEFT: a safetensors file and its config.

    Args:
        directory: Where to write; created if it does not exist.
        architecture: The architecture of the base.
        adapters: Result of `split_adapters`.
        base_name: Path or hub id of the base, which PEFT reads.

    Raises:
        CheckpointError: The directory cannot be written.
    """
    path, tensors, modules, rank = Path(directory), {}, set(), 0
    for key, leaf in flat_params(adapters).items():
        names = tensor_names(architecture, (*key[:-1], "weight")).names
        for name, factor in zip(names, np.asarray(leaf), strict=True):
            stem = name.removesuffix(".weight")
            tensors[f"base_model.model.{stem}.{_PEFT[key[-1]]}.weight"] = np.ascontiguousarray(factor.T)
            modules.add(stem.rpartition(".")[2])
        rank = leaf.shape[-1] if key[-1] == "lora_a" else rank
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": rank,  # PEFT multiplies by alpha / r
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(modules),
    }
    try:
        path.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path / PEFT_FILE)
        (path / PEFT_CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the adapters were not saved: {error}.") from error


def load_adapters(directory: str | Path, architecture: Architecture, shapes: Tree) -> dict[str, Any]:
    """Reads adapters written by `save_adapters` or PEFT.

    Args:
        directory: Contains the safetensors file and its config.
        architecture: The architecture of the base.
        shapes: Tree of adapters with the expected shapes, such as `split_adapters` returns.

    Raises:
        CheckpointError: The files cannot be read, or the shapes differ.
    """
    path = Path(directory)
    try:
        config = json.loads((path / PEFT_CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(path / PEFT_FILE)
        scale = config["lora_alpha"] / config["r"]
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: cannot read adapters ({error!r}).") from None
    loaded, problems = {}, []
    for key, leaf in flat_params(shapes).items():
        factors = []
        for name in tensor_names(architecture, (*key[:-1], "weight")).names:
            full = f"base_model.model.{name.removesuffix('.weight')}.{_PEFT[key[-1]]}.weight"
            factor = tensors.get(full)
            if factor is None or factor.T.shape != tuple(leaf.shape)[1:]:
                found = "missing" if factor is None else f"is {list(factor.shape)}"
                problems.append(f"{full} {found}, expected {list(tuple(leaf.shape)[:0:-1])}")
            else:
                factors.append(factor.T * (scale if key[-1] == "lora_b" else 1.0))
        loaded[key] = np.stack(factors) if len(factors) == leaf.shape[0] else None
    if problems:
        raise CheckpointError(
            f"{path}: {counted(len(problems), 'adapter')} of another shape:\n  " + "\n  ".join(problems)
        )
    return unflatten_dict(loaded)
