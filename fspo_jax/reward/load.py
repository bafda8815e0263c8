"""Reads an exported reward, finds its encoder or its base model, and puts them together.

The files of a reward choose nothing on this machine: neither the cache, nor whether a network is used. The places of
the encoder and the base model that they name are only tried, and what is there must have the digest of training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fspo_jax.checkpoints import RewardMetadata, read_adapters, read_fitted, read_reward
from fspo_jax.checkpoints.rewards import open_base
from fspo_jax.errors import CheckpointError, did_you_mean
from fspo_jax.models.features.absent import BlockRecord
from fspo_jax.models.features.make import restore_featurizer
from fspo_jax.reward.engines.features import FeatureScoring


class Origin(NamedTuple):
    """Where a reward comes from, and what its files must not choose.

    Attributes:
        path: The directory, or the name of a reward that comes with the package.
        base: Where the encoder or the base model is now; `""` for where it was in training.
        cache: Directory of the cache; `""` for `$FSPO_CACHE`, or else the user's.
        allow_download: Whether the encoder or the base model may be downloaded from the hub.
        without: Names of blocks of features to leave out.
    """

    path: Path
    base: str = ""
    cache: str = ""
    allow_download: bool = False
    without: tuple[str, ...] = ()


def load_feature_reward(origin: Origin) -> tuple[FeatureScoring, RewardMetadata]:
    """Loads a reward that scores features."""
    params, metadata = read_reward(origin.path)
    adapters, fitted = read_adapters(origin.path), read_fitted(origin.path)

    absent = _left_out(origin, metadata)

    def scoring(place: str) -> FeatureScoring:
        encoder = replace(metadata.config.encoder, model=place, cache=origin.cache)
        config = replace(metadata.config, encoder=encoder)
        featurizer = restore_featurizer(
            config,
            adapters,
            metadata.featurizer_fingerprint,
            fitted=fitted,
            absent=absent,
            allow_download=origin.allow_download,
        )
        return FeatureScoring.from_parts(config, params, featurizer)

    return open_base(metadata, origin.base, scoring), metadata


def _left_out(origin: Origin, metadata: RewardMetadata) -> dict[str, BlockRecord]:
    """The blocks to leave out; raises `CheckpointError` if the reward has no such blocks, or cannot do without."""
    names = [block.name for block in metadata.config.features]
    for name in origin.without:
        if name not in names:
            raise CheckpointError(
                f"{origin.path}: has no block '{name}' to leave out.{did_you_mean(name, names)} Its blocks: "
                f"{', '.join(names)}."
            )
        if not metadata.config.block_dropout:
            raise CheckpointError(
                f"{origin.path}: cannot do without '{name}', because it was trained without 'block_dropout'. Load all "
                "of its blocks."
            )
        if name not in metadata.blocks:
            raise CheckpointError(
                f"{origin.path}: cannot do without '{name}', which costs nothing beside the encoder. Blocks that can "
                f"be left out: {', '.join(metadata.blocks) or 'none'}."
            )
    return {name: BlockRecord(*metadata.blocks[name]) for name in origin.without}
