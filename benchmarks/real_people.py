"""Unseen people of the studies trained on: five folds over users, each judged by a model that never saw them.

    python benchmarks/real_people.py configs/real.toml [--folds 5] [--seeds 3] [--set key=value ...]

Every fold meta-trains the config's scorer and the population model on the users of the other folds (a tenth of which
select the checkpoint) and evaluates both on its own users, with up to 64 queries each. Intervals are over users, pooled
over folds and averaged over seeds. Bars at 8 shots: above the population model, per-user logistic and isotropic GP by
more than the interval on polis_en and polarized; never more than half a point below the population model. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from machine import provenance, run_benchmark

from fspo_jax import PersonalizedReward, evaluate
from fspo_jax.config import PopulationConfig, TrainConfig, load_config
from fspo_jax.data.episodes import index_items
from fspo_jax.data.sources import load_users
from fspo_jax.data.splits import split_users
from fspo_jax.evaluation.report import GroupRow
from fspo_jax.metrics import Interval
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.fit import fit
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.types import User

QUERIES = 64
"""Largest number of queries a user."""


def pooled(parts: list[tuple[int, Interval]]) -> Interval:
    """Mean over disjoint groups of users and its interval, from each group's size, mean and interval."""
    total = sum(count for count, _ in parts)
    mean = sum(count * part.mean for count, part in parts) / total
    half = sum((count / total * (part.high - part.low) / 2) ** 2 for count, part in parts) ** 0.5
    return Interval(mean, mean - half, mean + half)


def averaged(
    seeds: list[dict[str, list[GroupRow]]], source: str, value: Callable[[GroupRow], Interval]
) -> Interval:
    """Mean over seeds of a value pooled over folds; the interval is that over users, not over seeds."""
    over_folds = [pooled([(row.users, value(row)) for row in rows[source]]) for rows in seeds]
    return Interval(*(sum(parts) / len(parts) for parts in zip(*over_folds, strict=True)))


def judge(
    config: TrainConfig, folds: int, users: Sequence[User], featurizer: Featurizer
) -> dict[str, list[GroupRow]]:
    """Table rows of each source, a row a fold."""
    found: dict[str, list[GroupRow]] = {}
    for fold in range(folds):
        own = [user for user in users if zlib.crc32(user.user_id.encode()) % folds == fold]
        others = [user for user in users if zlib.crc32(user.user_id.encode()) % folds != fold]
        parts = split_users(others, validation_fraction=0.1, test_fraction=0.0, split_seed=fold)
        tables = []
        for name in ("train", "validation"):
            items, table = index_items(parts[name])
            tables += [table, featurizer(*zip(*items, strict=True))]
        rewards = []
        for scorer in (config.scorer, PopulationConfig("population")):
            its = dataclasses.replace(config, seed=config.seed + fold, scorer=scorer)
            with tempfile.TemporaryDirectory() as directory:
                run = Path(directory, "run")
                made = make_scorer(scorer, featurizer.blocks)
                fit(HeadTask(its, made, *tables, featurizer=featurizer), run)
                rewards.append(PersonalizedReward.load(run))
        report = evaluate(
            rewards[0], own, baselines={"population": rewards[1]}, shots=(0, 8), queries=QUERIES, seed=fold
        )
        for row in report.sources:
            found.setdefault(row.name, []).append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)
    users = [
        user for source in config.data.sources for user in load_users(source.path, source=source.name).users
    ]
    featurizer = make_featurizer(config.encoder, config.features)
    seeds = [
        judge(dataclasses.replace(config, seed=config.seed + seed), arguments.folds, users, featurizer)
        for seed in range(arguments.seeds)
    ]
    rows = {
        source: {
            "users": sum(row.users for row in seeds[0][source]),
            "zero_shot": averaged(seeds, source, lambda row: row.zero_shot),
            "8_shots": averaged(seeds, source, lambda row: row.accuracy),
            "gain_on": {
                method: averaged(seeds, source, lambda row, method=method: row.gains[method])
                for method in seeds[0][source][0].gains
            },
        }
        for source in seeds[0]
    }
    print(
        json.dumps(
            {**provenance(), "config": arguments.config, "overrides": arguments.overrides, "sources": rows},
            indent=1,
        )
    )


if __name__ == "__main__":
    run_benchmark(main)
