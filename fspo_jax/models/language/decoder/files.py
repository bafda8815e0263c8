"""Reads and writes a decoder's parameters in Hugging Face `safetensors` directories, with one file or several.

Tensors are read one at a time. Of an array that is divided over devices, a process reads only the slices of its own
devices. Each layer is moved to the devices before the next is read, so the host holds one tensor at a time.
"""

from __future__ import annotations

import functools
import json
import os
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fspo_jax.errors import CheckpointError, counted
from fspo_jax.models.language.decoder.architecture import Architecture

SHARD_BYTES = 4 * 2**30
"""Size of the largest file that `save_decoder` writes, in bytes."""

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

_LAYER_NAMES = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "attention_norm": "input_layernorm",
    "gate": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "down_proj": "mlp.down_proj",
}
_PLAIN_NORMS = {"mlp_norm": "post_attention_layernorm"}
_POST_NORMS = {
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}

Path_ = tuple[str, ...]


class Source(NamedTuple):
    """Where a parameter is found in files.

    Attributes:
        names: The name of its tensor, or of one tensor per layer if the parameter is stacked.
        stacked: Whether the first axis is the layer.
        transposed: Whether the file stores the matrix as [outputs, inputs].
    """

    names: tuple[str, ...]
    stacked: bool
    transposed: bool


def flat_params(params: Mapping[str, Any]) -> dict[Path_, Any]:
    """The leaves of a parameter tree by path."""
    return typing.cast(dict[Path_, Any], flatten_dict(dict(params)))


def tensor_names(architecture: Architecture, path: Path_) -> Source:
    """Returns where a checkpoint stores the parameter at `path`, the keys of the parameter tree."""
    match path:
        case ("embedding",):
            return Source(("model.embed_tokens.weight",), False, False)
        case ("norm", "weight"):
            return Source(("model.norm.weight",), False, False)
        case ("head",):
            return Source(("lm_head.weight",), False, False)
        case ("layers", module, kind):
            names = _LAYER_NAMES | (_POST_NORMS if architecture.post_norms else _PLAIN_NORMS)
            stem = names[module]
            layers = tuple(f"model.layers.{i}.{stem}.{kind}" for i in range(architecture.layers))
            return Source(layers, True, kind == "weight" and not module.endswith("norm"))
    raise ValueError(f"no such parameter: {'.'.join(path)}")


def load_decoder(
    directory: str | Path,
    architecture: Architecture,
    shapes: Mapping[str, Any],
    *,
    dtype: Any = None,
    sharding: Callable[[Path_, tuple[int, ...]], jax.sharding.Sharding] | None = None,
) -> dict[str, Any]:
    """Reads the parameters of a decoder.

    Args:
        directory: Contains `model.safetensors`, or several files with an index.
        architecture: Result of `read_architecture`.
        shapes: The parameter tree without adapters, of arrays or shapes (`jax.eval_shape`).
        dtype: Type to cast to; None keeps the type of the files. Training needs float32.
        sharding: Maps a parameter's path and shape to how it is divided; None puts it on the default device.

    Returns:
        The parameter tree.

    Raises:
        CheckpointError: The files cannot be read; or tensors are missing, unexpected or of another shape. The message
            lists them all.
    """
    path = Path(directory)
    wanted = flat_params(shapes)
    with ExitStack() as stack:
        where = _open_all(path, stack)
        _compare(path, architecture, wanted, where)

        def read(name: str, transposed: bool, index: tuple[slice, ...]) -> np.ndarray:
            part = np.asarray(where[name]()[(index[::-1] if transposed else index) or ...])
            part = part.T if transposed else part
            return part if dtype is None else part.astype(dtype)

        def placed(
            name: str, transposed: bool, shape: tuple[int, ...], place: jax.sharding.Sharding
        ) -> jax.Array:
            """Reads one tensor onto the devices."""
            array = jax.make_array_from_callback(
                shape, place, lambda index: read(name, transposed, index or ())
            )
            return jax.block_until_ready(array)

        loaded = {}
        for key, leaf in wanted.items():
            source = tensor_names(architecture, key)
            shape = tuple(leaf.shape)
            place = sharding(key, shape) if sharding else SingleDeviceSharding(jax.devices()[0])
            if not source.stacked:
                loaded[key] = placed(source.names[0], source.transposed, shape, place)
                continue
            put = jax.jit(lambda whole, part, i: whole.at[i].set(part), donate_argnums=0, out_shardings=place)
            for i, name in enumerate(source.names):
                part = placed(name, source.transposed, shape[1:], _of_a_layer(place))
                if i == 0:
                    empty = functools.partial(jnp.zeros, shape, part.dtype)
                    loaded[key] = jax.jit(empty, out_shardings=place)()
                loaded[key] = jax.block_until_ready(put(loaded[key], part, i))
    return unflatten_dict(loaded)


def _of_a_layer(place: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """The sharding of one layer of a stacked parameter, whose first axis is never divided."""
    if isinstance(place, NamedSharding):
        return NamedSharding(place.mesh, PartitionSpec(*place.spec[1:]))
    return place


def save_decoder(directory: str | Path, architecture: Architecture, params: Mapping[str, Any]) -> None:
    """Writes parameters under the names that transformers reads. Merge adapters first.

    Writes one file, or several of at most `SHARD_BYTES` with an index, but not `config.json` and the tokenizer.

    Raises:
        CheckpointError: The directory cannot be written.
    """
    path = Path(directory)
    parts: list[dict[str, np.ndarray]] = [{}]
    size = total = 0
    for name, tensor in _tensors(architecture, params):
        if size + tensor.nbytes > SHARD_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += tensor.nbytes
        total += tensor.nbytes
    names = [f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors" for i in range(len(parts))]
    if len(parts) == 1:
        names = [WEIGHTS]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, part in zip(names, parts, strict=True):
            fresh = path / f".{name}.{os.getpid()}"
            save_file(part, fresh, metadata={"format": "pt"})
            fresh.replace(path / name)
        if len(parts) > 1:
            index = {name: file for file, part in zip(names, parts, strict=True) for name in part}
            text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1)
            (path / INDEX).write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: the model was not saved: {error}.") from error


def _tensors(architecture: Architecture, params: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for key, leaf in flat_params(params).items():
        source = tensor_names(architecture, key)
        whole = np.asarray(leaf)
        for name, tensor in zip(source.names, whole if source.stacked else whole[None], strict=True):
            yield name, np.ascontiguousarray(tensor.T if source.transposed else tensor)


def _open_all(path: Path, stack: ExitStack) -> dict[str, Callable[[], Any]]:
    """For each tensor name, a function that opens its slice."""
    if (path / INDEX).is_file():
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            files = sorted(set(index["weight_map"].values()))
            absent = [name for name in files if name != Path(name).name or not (path / name).is_file()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"{path / INDEX}: cannot be read ({error!r}).") from None
        if absent:
            raise CheckpointError(f"{path}: {INDEX} names files that are not there: {', '.join(absent)}.")
    else:
        files = sorted(file.name for file in path.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{path}: no .safetensors file found. Give the directory of a checkpoint.")
    where = {}
    for name in files:
        try:
            file = stack.enter_context(safe_open(path / name, framework="numpy"))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path / name}: cannot be read as safetensors ({error}).") from None
        where |= {key: functools.partial(file.get_slice, key) for key in file.keys()}
    if not any(key.startswith("model.") for key in where):  # saved without its head
        where = {key if key == "lm_head.weight" else f"model.{key}": part for key, part in where.items()}
    return where


def _compare(
    path: Path, architecture: Architecture, wanted: Mapping[Path_, Any], where: dict[str, Any]
) -> None:
    problems, expected = [], set()
    for key, leaf in wanted.items():
        source = tensor_names(architecture, key)
        shape = tuple(leaf.shape)[1:] if source.stacked else tuple(leaf.shape)
        shape = shape[::-1] if source.transposed else shape
        for name in source.names:
            expected.add(name)
            if name not in where:
                problems.append(f"missing {name} {list(shape)}")
            elif tuple(where[name]().get_shape()) != shape:
                found = where[name]().get_shape()
                problems.append(f"{name} is {list(found)}, expected {list(shape)}")
    if ("head",) not in wanted:
        expected.add("lm_head.weight")  # not needed, or it repeats the embedding
    problems += [
        f"unexpected {name}"
        for name in sorted(set(where) - expected)
        if not name.endswith("rotary_emb.inv_freq")
    ]
    if problems:
        raise CheckpointError(
            f"{path}: {counted(len(problems), 'tensor')} not as in the {architecture.family} model of config.json:\n  "
            + "\n  ".join(problems)
        )


def embedding_rows(params: Mapping[str, Any], rows: int, key: jax.Array) -> dict[str, Any]:
    """Extends the vocabulary to `rows` tokens. The embedding of a new token is the mean of the old ones plus noise."""

    def grown(table: jax.Array) -> jax.Array:
        missing = rows - len(table)
        if missing <= 0:
            return table
        mean, deviation = table.mean(0), table.std(0)
        noise = jax.random.normal(key, (missing, table.shape[1]), jnp.float32) * deviation * 0.1
        return jnp.concatenate([table, (mean + noise).astype(table.dtype)])

    return {name: grown(leaf) if name in ("embedding", "head") else leaf for name, leaf in params.items()}
