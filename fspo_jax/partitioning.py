"""The device mesh: one axis, `data`, along which the episodes of a batch are divided."""

from __future__ import annotations

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from fspo_jax.errors import ConfigError

DATA_AXIS = "data"


def make_mesh(devices: int = 0) -> Mesh:
    """Returns a mesh over the first `devices` devices, axis `data`; 0 takes all.

    Raises:
        ConfigError: There are fewer devices.
    """
    available = jax.devices()
    if not 0 <= devices <= len(available):
        raise ConfigError(
            f"'devices' is {devices}, but {len(available)} {available[0].platform} device(s) are here. "
            f"Set devices to 1..{len(available)}, or to 0 for all."
        )
    used = available[: devices or len(available)]
    return jax.make_mesh((len(used),), (DATA_AXIS,), axis_types=(AxisType.Auto,), devices=used)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: parameters, optimizer state, feature tables."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis (B episodes) is divided over the devices."""
    return NamedSharding(mesh, PartitionSpec(DATA_AXIS))
