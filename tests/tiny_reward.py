"""A reward whose features are numbers drawn from a hash of the text, so that it needs no encoder."""

import zlib
from types import MappingProxyType

import jax
import numpy as np

from fspo_jax.config import config_from_dict
from fspo_jax.models.features.style import FEATURES, WORDS, Style
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import Preference

WIDTH = 10
PAIRS = [Preference(f"question {i}", f"good {i}", f"bad {i}") for i in range(5)]
CANDIDATES = [f"candidate {i}" for i in range(9)]


class HashedFeatures:
    """A featurizer without an encoder: numbers drawn from a hash of the text."""

    blocks = MappingProxyType({"hashed": WIDTH})
    dimension = WIDTH
    fingerprint = "hashed"

    def warm_up(self) -> None:
        pass

    def __call__(self, prompts, responses):
        rows = [
            np.random.default_rng(zlib.crc32(f"{render_prompt(p)}\n{r}".encode())).normal(size=self.dimension)
            for p, r in zip(prompts, responses, strict=True)
        ]
        return np.array(rows, np.float32)


class StyledFeatures(HashedFeatures):
    """Columns for scorers that read a block of style."""

    blocks = MappingProxyType({"sentence": WIDTH, "style": len(FEATURES)})
    dimension = WIDTH + len(FEATURES)
    fingerprint = "styled"


class WordedFeatures(StyledFeatures):
    """Hashed numbers, and the real style of a response, whose columns have words."""

    columns = MappingProxyType({"sentence": {}, "style": WORDS})
    fingerprint = "worded"

    def __call__(self, prompts, responses):
        hashed = super().__call__(prompts, responses)
        return np.concatenate([hashed[:, : -len(FEATURES)], Style().values(responses)], 1)


def make_reward(kind="preferential_gp", seed=0, max_context=8) -> PersonalizedReward:
    config = config_from_dict(
        {
            "seed": 0,
            "steps": 10,
            "steps_per_dispatch": 10,
            "evaluate_every": 10,
            "objective": "bradley_terry",
            "data": {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}]},
            "scorer": {"kind": kind},
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
            "episodes": {"max_context": max_context},
        }
    )
    features = StyledFeatures() if kind == "three_level_gp" else HashedFeatures()
    params = make_scorer(config.scorer, features.blocks).init(jax.random.key(seed))
    return PersonalizedReward.from_parts(config, params, features)


def make_worded_reward() -> PersonalizedReward:
    """A reward with columns that can be said in words."""
    plain = make_reward("three_level_gp")
    return PersonalizedReward.from_parts(plain.config, plain.scoring.params, WordedFeatures())
