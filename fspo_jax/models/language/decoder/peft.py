"""Adapters in the format of PEFT, which other programs write and read too.

Source: Hu et al. (2021), LoRA, arXiv 2106.09685; for `use_rslora`, Kalajdzievski (2023), arXiv 2312.03732.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fspo_jax.errors import CheckpointError, counted
from fspo_jax.models.language.decoder.adapters import adapter_shapes
from fspo_jax.models.language.decoder.architecture import Architecture
from fspo_jax.models.language.decoder.files import flat_params, tensor_names

PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"

Tree = Mapping[str, Any]

_FACTORS = {"lora_a": "lora_A", "lora_b": "lora_B"}
_COMPUTED = {"r", "lora_alpha", "use_rslora", "alpha_pattern", "rank_pattern", "base_model_name_or_path"}
_HARMLESS = set(
    """
    task_type inference_mode lora_dropout auto_mapping peft_version revision target_modules exclude_modules
    layers_to_transform layers_pattern qalora_group_size runtime_config loftq_config megatron_config megatron_core
    eva_config
    """.split()
)
"""Keys that say how to train, or name the tensors that are in the file anyway."""
_ALLOWED: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (
        True,
        False,
        None,
        "gaussian",
        "eva",
        "orthogonal",
    ),  # others change the base as well
}
_NAME = re.compile(
    r"base_model\.model\.(?:model\.)?layers\.(\d+)\.([a-z_.]+)\.(lora_A|lora_B)(?:\.default)?\.weight"
)


def save_adapters(
    directory: str | Path, architecture: Architecture, adapters: Tree, base_name: str = "", first: int = 0
) -> None:
    """Writes adapters in the format of PEFT: a safetensors file and its config.

    Args:
        directory: Where to write; created if it does not exist.
        architecture: The architecture of the base; of its upper layers if only they have adapters.
        adapters: Result of `split_adapters`.
        base_name: Path or hub id of the base, which PEFT reads.
        first: Number of lower layers of the base, which have no adapters.

    Raises:
        CheckpointError: The directory cannot be written.
    """
    path, tensors, modules, rank = Path(directory), {}, set(), 0
    whole = replace(architecture, layers=first + architecture.layers)
    for key, leaf in flat_params(adapters).items():
        names = tensor_names(whole, (*key[:-1], "weight")).names[first:]
        for name, factor in zip(names, np.asarray(leaf), strict=True):
            stem = name.removesuffix(".weight")
            tensors[f"base_model.model.{stem}.{_FACTORS[key[-1]]}.weight"] = np.ascontiguousarray(factor.T)
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


def read_peft_config(directory: str | Path) -> dict[str, Any]:
    """Reads `adapter_config.json`. Every key is computed, known to change nothing, or refused by name.

    Raises:
        CheckpointError: The file is damaged, or a key is not supported (DoRA, biases, trained embeddings, ...).
    """
    path = Path(directory) / PEFT_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        rank, alpha = config["r"], config["lora_alpha"]
        patterns = [config.get(name) or {} for name in ("rank_pattern", "alpha_pattern")]
        numbers = [rank, alpha, *(value for pattern in patterns for value in pattern.values())]
        if not all(isinstance(number, int | float) and number > 0 for number in numbers):
            raise ValueError("a rank or alpha is not a positive number")
        for pattern in patterns:
            for expression in pattern:
                re.compile(expression)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, re.error) as error:
        raise CheckpointError(f"{path}: cannot be read ({error!r}).") from None
    refused = {
        key: value
        for key, value in config.items()
        if (value not in _ALLOWED[key] if key in _ALLOWED else key not in _COMPUTED | _HARMLESS and value)
    }
    if refused:
        shown = ", ".join(f"{key} = {str(value)[:60]}" for key, value in sorted(refused.items()))
        raise CheckpointError(
            f"{path}: {counted(len(refused), 'setting')} not supported: {shown}. Supported: LoRA with use_rslora, "
            "rank_pattern and alpha_pattern. Or merge the adapters with PEFT (merge_and_unload) and give that."
        )
    return config


def read_peft(directory: str | Path, architecture: Architecture) -> dict[str, Any]:
    """Reads adapters that PEFT wrote, for `merge_adapters` and `join_adapters`.

    Ranks may differ between matrices, and some may have no adapter: the factors are padded with zeros, which changes
    nothing. The scale is multiplied into `lora_b`.

    Args:
        directory: Contains `adapter_config.json` and `adapter_model.safetensors`.
        architecture: The architecture of the base.

    Returns:
        Tree of `lora_a`, `float32 [L, inputs, rank]`, and `lora_b`, `float32 [L, rank, outputs]`.

    Raises:
        CheckpointError: The files cannot be read; a setting is not supported; or tensors do not belong to the base, or
            not to their config. The message lists them all.
    """
    path = Path(directory)
    config = read_peft_config(path)
    try:
        tensors = load_file(path / PEFT_FILE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path / PEFT_FILE}: cannot be read ({error}).") from None
    places = {
        tensor_names(architecture, (*key[:-1], "weight")).names[layer].removesuffix(".weight"): (
            key[:-1],
            layer,
        )
        for key in flat_params(adapter_shapes(architecture, 1))
        if key[-1] == "lora_a"
        for layer in range(architecture.layers)
    }
    sizes = {key[:-1]: [0, 0] for key in flat_params(adapter_shapes(architecture, 1))}
    for key, leaf in flat_params(adapter_shapes(architecture, 1)).items():
        sizes[key[:-1]][key[-1] == "lora_b"] = leaf.shape[1 if key[-1] == "lora_a" else 2]
    found: dict[str, dict[str, np.ndarray]] = {}
    problems = []
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        stem = f"model.layers.{match[1]}.{match[2]}" if match else ""
        if match is None or stem not in places:
            problems.append(f"unexpected {name}")
        else:
            found.setdefault(stem, {})[match[3]] = tensor.astype(np.float32)
    for stem, factors in found.items():
        inputs, outputs = sizes[places[stem][0]]
        rank = _pattern(config, "rank", stem)
        expected = {"lora_A": (rank, inputs), "lora_B": (outputs, rank)}
        problems += [
            f"{stem}.{name} is {list(factors[name].shape) if name in factors else 'missing'}, expected {list(shape)}"
            for name, shape in expected.items()
            if name not in factors or factors[name].shape != shape
        ]
    if problems or not found:
        raise CheckpointError(
            f"{path}: {counted(len(problems), 'tensor')} not as in the base ({architecture.family}) and "
            f"{PEFT_CONFIG}:\n  " + "\n  ".join(problems or ["there is no adapter at all"])
        )
    widest = max(factors["lora_A"].shape[0] for factors in found.values())
    loaded: dict[tuple[str, ...], np.ndarray] = {}
    for module in {places[stem][0] for stem in found}:
        inputs, outputs = sizes[module]
        loaded[(*module, "lora_a")] = np.zeros((architecture.layers, inputs, widest), np.float32)
        loaded[(*module, "lora_b")] = np.zeros((architecture.layers, widest, outputs), np.float32)
    for stem, factors in found.items():
        module, layer = places[stem]
        rank = factors["lora_A"].shape[0]
        scale = _pattern(config, "alpha", stem) / (rank**0.5 if config.get("use_rslora") else rank)
        loaded[(*module, "lora_a")][layer, :, :rank] = factors["lora_A"].T
        loaded[(*module, "lora_b")][layer, :rank] = factors["lora_B"].T * scale
    return unflatten_dict(loaded)


def load_adapters(
    directory: str | Path, architecture: Architecture, shapes: Tree, first: int = 0
) -> dict[str, Any]:
    """Reads adapters of exactly these shapes, such as those of a trained reward; raises like `read_peft`.

    Args:
        directory: As in `read_peft`.
        architecture: The architecture of the base.
        shapes: Tree of adapters with the expected shapes, such as `adapter_shapes` returns.
        first: Number of lower layers of the base, which have no adapters.
    """
    loaded = {key: leaf[first:] for key, leaf in flat_params(read_peft(directory, architecture)).items()}
    problems = [
        f"{'.'.join(key)} is {list(loaded[key].shape) if key in loaded else 'missing'}, expected {list(leaf.shape)}"
        for key, leaf in flat_params(shapes).items()
        if key not in loaded or loaded[key].shape != tuple(leaf.shape)
    ]
    if problems:
        raise CheckpointError(
            f"{directory}: {counted(len(problems), 'adapter')} of another shape:\n  " + "\n  ".join(problems)
        )
    return unflatten_dict(loaded)


def _pattern(config: Mapping[str, Any], name: str, module: str) -> Any:
    """The rank or alpha of a module: of the first pattern that is the end of its name, or the general one."""
    for pattern, value in (config.get(f"{name}_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return config["r" if name == "rank" else "lora_alpha"]
