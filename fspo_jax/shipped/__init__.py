"""The rewards that come with the package, by name. Imports nothing heavy: the command line checks names with it."""

from __future__ import annotations

from pathlib import Path

from fspo_jax.arguments import check_path
from fspo_jax.errors import CheckpointError, did_you_mean, did_you_mean_path

_DIRECTORY = Path(__file__).parent


def reward_names() -> list[str]:
    """Names that `PersonalizedReward.load` takes besides paths, sorted.

    Example:
        >>> "fspo-mini" in reward_names()
        True
    """
    return sorted(path.parent.name for path in _DIRECTORY.glob("*/model.safetensors"))


def find_reward(path: str | Path) -> Path:
    """Returns the directory of a reward that comes with the package, or the given path when something is there.

    A directory of the same name in the working directory wins.

    Raises:
        CheckpointError: Nothing is there, and no reward has that name, or no file can have it.
    """
    path = check_path(path, error=CheckpointError)
    if path.exists():
        return path
    if str(path) in reward_names():
        return _DIRECTORY / path
    close = did_you_mean(str(path), reward_names()) or did_you_mean_path(path)
    raise CheckpointError(
        f"{path}: no such reward.{close} Give {', '.join(reward_names())}, a run directory, or the directory of an "
        "exported reward."
    )
