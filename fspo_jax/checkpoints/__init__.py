"""Files that serving reads: exported rewards and saved users, as safetensors and JSON, never pickle."""

from fspo_jax.checkpoints.files import FORMAT_VERSION, tree_digest, write_json
from fspo_jax.checkpoints.rewards import (
    CHECKPOINTS,
    METADATA,
    MISMATCHED,
    POPULATION,
    REWARD,
    RewardMetadata,
    read_adapters,
    read_fitted,
    read_metadata,
    read_reward,
    reward_fingerprint,
    write_reward,
)
from fspo_jax.checkpoints.users import check_user_file, read_user, write_user

__all__ = [
    "CHECKPOINTS",
    "FORMAT_VERSION",
    "METADATA",
    "MISMATCHED",
    "POPULATION",
    "REWARD",
    "RewardMetadata",
    "check_user_file",
    "read_adapters",
    "read_fitted",
    "read_metadata",
    "read_reward",
    "read_user",
    "reward_fingerprint",
    "tree_digest",
    "write_json",
    "write_reward",
    "write_user",
]
