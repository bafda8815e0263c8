"""A reward model that learns one person's taste from a handful of labelled pairs.

    import fspo_jax as fspo

    reward = fspo.PersonalizedReward.load("fspo-mini")
    ana = reward.adapt([fspo.Preference("Explain entropy.", chosen="A messy room.", rejected="S = k log W.")])
    for candidate in fspo.rerank(ana, "Why is the sky blue?", drafts, top_k=3):
        print(candidate.rank, candidate.index, candidate.score)

Names are imported when they are first used, so that `import fspo_jax` is quick and needs no accelerator library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fspo_jax.errors import did_you_mean
from fspo_jax.rerank import rerank  # now, so that the submodule of that name cannot replace it later

if TYPE_CHECKING:
    from fspo_jax.asking import Question, next_pair, next_pairs
    from fspo_jax.config import TrainConfig, load_config
    from fspo_jax.data.sources import load_users
    from fspo_jax.errors import FspoError
    from fspo_jax.evaluation import evaluate
    from fspo_jax.generation import best_of_n, openai_endpoint, with_examples
    from fspo_jax.models.language.chat_writer import load_writer
    from fspo_jax.reward import PersonalizedReward, UserReward
    from fspo_jax.reward.described import learn_descriptions
    from fspo_jax.reward.groups import communities
    from fspo_jax.reward.private import Privacy
    from fspo_jax.reward.written import Blockwise, Tokenwise
    from fspo_jax.training.train import train
    from fspo_jax.types import Preference, User

__version__ = "0.2.0"

_HOME_OF_NAME = {
    "Blockwise": "fspo_jax.reward.written",
    "FspoError": "fspo_jax.errors",
    "PersonalizedReward": "fspo_jax.reward",
    "Preference": "fspo_jax.types",
    "Privacy": "fspo_jax.reward.private",
    "Question": "fspo_jax.asking",
    "Tokenwise": "fspo_jax.reward.written",
    "TrainConfig": "fspo_jax.config",
    "User": "fspo_jax.types",
    "UserReward": "fspo_jax.reward",
    "best_of_n": "fspo_jax.generation",
    "communities": "fspo_jax.reward.groups",
    "evaluate": "fspo_jax.evaluation",
    "learn_descriptions": "fspo_jax.reward.described",
    "load_config": "fspo_jax.config",
    "load_users": "fspo_jax.data.sources",
    "load_writer": "fspo_jax.models.language.chat_writer",
    "next_pair": "fspo_jax.asking",
    "next_pairs": "fspo_jax.asking",
    "openai_endpoint": "fspo_jax.generation",
    "train": "fspo_jax.training.train",
    "with_examples": "fspo_jax.generation",
}

__all__ = [
    "Blockwise",
    "FspoError",
    "PersonalizedReward",
    "Preference",
    "Privacy",
    "Question",
    "Tokenwise",
    "TrainConfig",
    "User",
    "UserReward",
    "best_of_n",
    "communities",
    "evaluate",
    "learn_descriptions",
    "load_config",
    "load_users",
    "load_writer",
    "next_pair",
    "next_pairs",
    "openai_endpoint",
    "rerank",
    "train",
    "with_examples",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module 'fspo_jax' has no attribute '{name}'.{did_you_mean(name, __all__)}")
    value = getattr(importlib.import_module(_HOME_OF_NAME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    dunders = (name for name in globals() if name.startswith("__") and name.endswith("__"))
    return sorted({*dunders, *__all__})
