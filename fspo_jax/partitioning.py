"""The device mesh and how arrays lie on it: `data` x `fsdp` x `tensor`.

Batches are divided over `data` and `fsdp`; the parameters of language models over `fsdp` and `tensor`. Everything else
is whole on every device.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fspo_jax.errors import ConfigError

Tree = TypeVar("Tree")

DATA_AXIS, FSDP_AXIS, TENSOR_AXIS = "data", "fsdp", "tensor"
BATCH_AXES = (DATA_AXIS, FSDP_AXIS)


def make_mesh(devices: int = 0, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """Returns a mesh over the first `devices` devices; 0 takes all. The data axis has what the others leave.

    Raises:
        ConfigError: There are fewer devices, or they do not divide by `fsdp * tensor`.
    """
    available = jax.devices()
    if not 0 <= devices <= len(available):
        raise ConfigError(
            f"'devices' is {devices}, but {len(available)} {available[0].platform} device(s) are here. "
            f"Set devices to 1..{len(available)}, or to 0 for all."
        )
    used = available[: devices or len(available)]
    if len(used) % (fsdp * tensor):
        raise ConfigError(
            f"{len(used)} device(s) do not divide by 'fsdp' ({fsdp}) times 'tensor' ({tensor}). Change them, or "
            "'devices'."
        )
    return jax.make_mesh(
        (len(used) // (fsdp * tensor), fsdp, tensor),
        (DATA_AXIS, FSDP_AXIS, TENSOR_AXIS),
        axis_types=(AxisType.Auto,) * 3,
        devices=used,
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: small parameters, optimizer state, feature tables."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis (B episodes, R rows) is divided over the devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def put_batch(mesh: Mesh, batch: Tree) -> Tree:
    """Lays a batch of host arrays, the same on every process, over the devices by its first axis.

    Leaves whose first axis does not divide, such as index arrays of few episodes, lie whole on every device.
    """

    def put(leaf: np.ndarray) -> jax.Array:
        divides = leaf.ndim and leaf.shape[0] % batch_shards(mesh) == 0
        sharding = batch_sharding(mesh) if divides else replicated(mesh)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(put, batch)


def batch_shards(mesh: Mesh) -> int:
    """Parts of a batch."""
    return mesh.shape[DATA_AXIS] * mesh.shape[FSDP_AXIS]


_INPUTS_FIRST = {"query", "key", "value", "gate", "up_proj"}
_OUTPUTS_FIRST = {"output", "down_proj"}


def parameter_sharding(mesh: Mesh, path: tuple[str, ...], shape: tuple[int, ...]) -> NamedSharding:
    """How a parameter of a language model lies on the mesh, from its path in the parameter tree.

    Matrices into heads or the MLP are divided by columns over `tensor`, those out of them by rows, as in Megatron;
    the other axis over `fsdp`. An axis that does not divide evenly stays whole, and so do vectors.

    Source: Shoeybi et al. (2019), Megatron-LM, arXiv 1909.08053.
    """
    spec: list[str | None] = [None] * len(shape)
    module = path[-2] if len(path) > 1 else ""
    kind = path[-1]
    if kind in ("embedding", "head") and len(shape) == 2:
        spec = [TENSOR_AXIS, FSDP_AXIS]
    elif module in _INPUTS_FIRST | _OUTPUTS_FIRST and len(shape) == 3:
        rows, columns = (FSDP_AXIS, TENSOR_AXIS) if module in _INPUTS_FIRST else (TENSOR_AXIS, FSDP_AXIS)
        spec = [None, None if kind == "up" else rows, None if kind == "down" else columns]
    fitting = [
        axis if axis and size % mesh.shape[axis] == 0 else None
        for axis, size in zip(spec, shape, strict=True)
    ]
    return NamedSharding(mesh, PartitionSpec(*fitting))


def tree_sharding(mesh: Mesh, tree: Tree) -> Tree:
    """`parameter_sharding` of every leaf of a parameter tree or an optimizer state, of arrays or shapes."""

    def of_leaf(path: tuple, leaf: jax.Array) -> NamedSharding:
        names = tuple(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))
        return parameter_sharding(mesh, names, leaf.shape) if names else replicated(mesh)

    return jax.tree_util.tree_map_with_path(of_leaf, tree)
