"""A tiny synthetic world and a run of it, for the tests of this folder; also a script that they start and kill.

python tiny_run.py RUN [--resume] [--sleep SECONDS] [--language]
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.config import (
    DataConfig,
    EpisodeConfig,
    OptimizerConfig,
    PersonaSource,
    PreferentialGPConfig,
    TrainConfig,
)
from fspo_jax.data.episodes import EpisodeTable

FEATURES = 6


def tiny_config(**changes: Any) -> TrainConfig:
    """40 steps of 8 episodes in dispatches of 5, an evaluation every 10."""
    config = TrainConfig(
        seed=3,
        steps=40,
        objective="bradley_terry",
        data=DataConfig(sources=(PersonaSource(seed=0, personas=8, prompts=8),)),
        scorer=PreferentialGPConfig(kind="preferential_gp", hidden=8, width=4, newton_steps=2),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=4),
        episodes=EpisodeConfig(batch_size=8, max_context=4, queries=3, flip_probability=0.25),
        steps_per_dispatch=5,
        evaluate_every=10,
        devices=1,
    )
    return dataclasses.replace(config, **changes)


def tiny_world(seed: int, users: int = 12, noise: float = 0.0) -> tuple[EpisodeTable, np.ndarray]:
    """Users with linear tastes that share a direction; 5 to 14 pairs each, labels by utility plus noise."""
    rng = np.random.default_rng(seed)
    rows = 60
    features = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    counts = rng.integers(5, 15, users).astype(np.int32)
    pairs = []
    for count in counts:
        taste = rng.normal(size=FEATURES) + 2.0 * (np.arange(FEATURES) == 0)
        for _ in range(count):
            pair = rng.choice(rows, 2, replace=False)
            utility = features[pair] @ taste + noise * rng.normal(size=2)
            pairs.append(pair[np.argsort(-utility)])
    table = EpisodeTable(
        pairs=np.array(pairs, np.int32),
        texts=np.arange(rows, dtype=np.int32),
        offsets=(np.cumsum(counts) - counts).astype(np.int32),
        counts=counts,
        cumulative=(np.arange(1, users + 1) / users).astype(np.float32),
        sources=np.zeros(users, np.int32),
    )
    return table, features


def run_tiny(run: Path, config: TrainConfig | None = None, **options: Any) -> Path:
    """Meta-trains on the tiny world; `options` are those of `fit`."""
    from fspo_jax.models.scorers.make import make_scorer
    from fspo_jax.training.fit import fit
    from fspo_jax.training.tasks.head import HeadTask

    config = config or tiny_config()
    scorer = make_scorer(config.scorer, {"features": FEATURES})
    return fit(HeadTask(config, scorer, *tiny_world(1), *tiny_world(2)), run, **options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--sleep", type=float, default=0.0)
    parser.add_argument("--language", action="store_true")
    arguments = parser.parse_args()
    if arguments.language:
        from tiny_language import run_language as run_tiny
    run_tiny(arguments.run, resume=arguments.resume, on_progress=lambda _: time.sleep(arguments.sleep))
