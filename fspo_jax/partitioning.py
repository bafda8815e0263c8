"""The device mesh, with axes `data`, `fsdp` and `tensor`, and how arrays are divided over it.

Batches are divided over `data` and `fsdp`, and the parameters of language models over `fsdp` and `tensor`. Every device
holds a full copy of everything else.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fspo_jax.errors import ConfigError, counted

Tree = TypeVar("Tree")

DATA_AXIS, FSDP_AXIS, TENSOR_AXIS = "data", "fsdp", "tensor"
BATCH_AXES = (DATA_AXIS, FSDP_AXIS)


def make_mesh(devices: int = 0, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """Makes the device mesh of a run.

    Args:
        devices: Number of devices to use, the first ones; 0 uses all.
        fsdp: Size of the axis over which batches and parameters are divided.
        tensor: Size of the axis over which parameters are divided. The data axis gets the remaining factor.

    Raises:
        ConfigError: There are fewer devices, or their number is no multiple of `fsdp * tensor`.
    """
    available = jax.devices()
    if not 0 <= devices <= len(available):
        found = counted(len(available), f"{available[0].platform} device")
        raise ConfigError(
            f"'devices' is {devices}, but this machine has {found}. "
            f"Set 'devices' to a number from 1 to {len(available)}, or to 0 to use all."
        )
    used = available[: devices or len(available)]
    if len(used) % (fsdp * tensor):
        raise ConfigError(
            f"{counted(len(used), 'device')} cannot be divided by 'fsdp' ({fsdp}) times 'tensor' ({tensor}). Change "
            "one of them, or 'devices'."
        )
    return jax.make_mesh(
        (len(used) // (fsdp * tensor), fsdp, tensor),
        (DATA_AXIS, FSDP_AXIS, TENSOR_AXIS),
        axis_types=(AxisType.Auto,) * 3,
        devices=used,
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding under which every device holds the whole array: small parameters, optimizer state, features."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding that divides the first axis (B episodes, R rows) over the devices."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def put_batch(mesh: Mesh, batch: Tree) -> Tree:
    """Moves a batch of host arrays to the devices, divided by the first axis.

    An array whose first axis cannot be divided evenly, such as the indices of few episodes, is copied to every device.

    Args:
        mesh: The device mesh.
        batch: Tree of numpy arrays, equal on every process.
    """

    def put(leaf: np.ndarray) -> jax.Array:
        divides = leaf.ndim and leaf.shape[0] % batch_shards(mesh) == 0
        sharding = batch_sharding(mesh) if divides else replicated(mesh)
        return jax.make_array_from_callback(leaf.shape, sharding, lambda index: leaf[index])

    return jax.tree.map(put, batch)


def batch_shards(mesh: Mesh) -> int:
    """Number of parts into which a batch is divided."""
    return mesh.shape[DATA_AXIS] * mesh.shape[FSDP_AXIS]


_INPUTS_FIRST = {"query", "key", "value", "gate", "up_proj"}
_OUTPUTS_FIRST = {"output", "down_proj"}


def parameter_sharding(mesh: Mesh, path: tuple[str, ...], shape: tuple[int, ...]) -> NamedSharding:
    """How a parameter of a language model is divided over the mesh.

    As in Megatron, matrices into the attention heads and the MLP are divided by columns over `tensor`, and matrices out
    of them by rows. The other axis is divided over `fsdp`. Vectors, and axes that cannot be divided evenly, stay whole.

    Args:
        mesh: The device mesh.
        path: Names on the way from the root of the parameter tree to the parameter.
        shape: Shape of the parameter.

    Source: Shoeybi et al. (2019), Megatron-LM, arXiv 1909.08053.
    """
    spec: list[str | None] = [None] * len(shape)
    module = path[-2] if len(path) > 1 else ""
    kind = path[-1]
    if kind in ("embedding", "head") and len(shape) == 2:
        spec = [TENSOR_AXIS, FSDP_AXIS]
    elif module in _INPUTS_FIRST | _OUTPUTS_FIRST and len(shape) == 3:
        rows, columns = (FSDP_AXIS, TENSOR_AXIS) if module in _INPUTS_FIRST else (TENSOR_AXIS, FSDP_AXIS)
        spec = [None, None if kind == "lora_b" else rows, None if kind == "lora_a" else columns]
    fitting = [
        axis if axis and size % mesh.shape[axis] == 0 else None
        for axis, size in zip(spec, shape, strict=True)
    ]
    return NamedSharding(mesh, PartitionSpec(*fitting))


def tree_sharding(mesh: Mesh, tree: Tree) -> Tree:
    """`parameter_sharding` of every leaf of a parameter tree or an optimizer state; leaves are arrays or shapes."""

    def of_leaf(path: tuple, leaf: jax.Array) -> NamedSharding:
        names = tuple(str(key.key) for key in path if isinstance(key, jax.tree_util.DictKey))
        return parameter_sharding(mesh, names, leaf.shape) if names else replicated(mesh)

    return jax.tree_util.tree_map_with_path(of_leaf, tree)
