"""Meta-training of a scorer over many users."""

from fspo_jax.training.loop import Progress, meta_train, train
from fspo_jax.training.run_checkpoints import CheckpointWarning

__all__ = ["CheckpointWarning", "Progress", "meta_train", "train"]
