"""Communities at scale: learning from up to a million pairs, and serving inside a community.

    python benchmarks/community.py [--pairs 100000 300000 1000000] [--people 20] [--repeats 200]

Features are random, of the widths of a reward over one encoder with a hidden layer (R = 797 directions), so no text is
encoded: what an encoder adds is two texts a pair at the rate of `benchmarks/encoder.py`, once, since features are
cached. Everything else is as in `reward.for_community`, from `Preference` to the posterior. A quarter of the texts are
from a pool of 5,000 that come back.

Bars on 2 cores: 1,000,000 pairs in minutes, in memory that does not grow with them, in time that grows linearly. Inside
a community: adapt to 8 cached pairs, p50 1 ms; rerank 1,000 cached candidates, p50 5 ms; after `warm_up`, no first call
above 100 ms. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Iterator
from types import MappingProxyType

import jax
import numpy as np
from machine import milliseconds, provenance

from fspo_jax import PersonalizedReward, Preference, rerank
from fspo_jax.config import config_from_dict
from fspo_jax.models.features.recent import RecentRows
from fspo_jax.models.features.style import FEATURES
from fspo_jax.models.scorers.make import make_scorer

PAIRS_PER_PERSON = 8
POOL = 5_000
CONFIG = {
    "seed": 0,
    "steps": 1,
    "objective": "bradley_terry",
    "data": {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}]},
    "scorer": {"kind": "three_level_gp"},
    "optimizer": {"learning_rate": 1e-2},
    "episodes": {"max_context": 16},
}


class RandomFeatures:
    """Rows of a table, drawn by the number at the end of a text; the latest are cached, as those of texts are."""

    blocks = MappingProxyType({"sentence": 384, "hidden_layer_2": 384, "approval": 1, "style": len(FEATURES)})
    dimension = sum(blocks.values())
    fingerprint = "random"

    def __init__(self) -> None:
        table = np.random.default_rng(0).normal(size=(20_011, self.dimension)).astype(np.float32)

        def compute(texts: list[str]) -> np.ndarray:
            return table[[int(text.rsplit(" ", 1)[1]) % len(table) for text in texts]]

        self.table, self._compute = table, compute
        self._recent = RecentRows(self.dimension, compute)

    def __call__(self, prompts, responses) -> np.ndarray:
        if len(responses) > 64 and len(set(responses)) == len(responses) and responses[0].startswith("pair"):
            return self._compute(list(responses))  # a stream of new texts, which fills no cache
        return self._recent.rows(responses)

    def warm_up(self) -> None:
        """Nothing is compiled."""


def people(count: int, table: np.ndarray) -> Iterator[list[Preference]]:
    """People with pairs, made as they are read. They agree on a taste, with noise."""
    generator = np.random.default_rng(1)
    reward = table @ generator.normal(size=table.shape[1]) / 10.0
    for start in range(0, count, PAIRS_PER_PERSON):
        numbers = np.arange(2 * start, 2 * (start + PAIRS_PER_PERSON)).reshape(-1, 2)
        pooled = generator.random(numbers.shape) < 0.25
        numbers = np.where(pooled, generator.integers(0, POOL, numbers.shape), POOL + numbers)
        first, second = reward[numbers.T % len(table)]
        wins = generator.random(len(numbers)) < 1.0 / (1.0 + np.exp(second - first))
        yield [
            Preference("p", *(f"pair of texts {n}" for n in (row if won else row[::-1])))
            for row, won in zip(numbers, wins, strict=True)
            if row[0] != row[1]
        ]


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serving(ours: PersonalizedReward, repeats: int) -> dict[str, float]:
    """Latency inside a community."""
    pairs = [Preference("p", f"chosen {2 * i}", f"rejected {2 * i + 1}") for i in range(ours.max_context)]
    cached = [f"candidate with some words in it {i}" for i in range(1_000)]
    (warm_up,) = milliseconds(ours.warm_up, 1)
    first = 0.0
    for shots in range(ours.max_context + 1):
        first = max(first, *milliseconds(lambda: jax.block_until_ready(ours.adapt(pairs[:shots]).state), 1))  # noqa: B023
        user = ours.adapt(pairs[:shots])
        for count in (1, 31, 33, 256):
            first = max(first, *milliseconds(lambda: user.score("p", cached[:count]), 1))  # noqa: B023
    user = ours.adapt(pairs[:8])
    rerank(user, "p", cached)
    adapting = milliseconds(lambda: jax.block_until_ready(ours.adapt(pairs[:8]).state), repeats)
    ranking = milliseconds(lambda: rerank(user, "p", cached), repeats)
    return {
        "warm_up_s": warm_up / 1e3,
        "worst_first_call_ms": first,
        "adapt_8_pairs_p50_ms": statistics.median(adapting),
        "rerank_1000_cached_p50_ms": statistics.median(ranking),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, nargs="*", default=[100_000, 300_000, 1_000_000])
    parser.add_argument(
        "--people", type=int, default=20, help="of the community inside which serving is timed"
    )
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    config, features = config_from_dict(CONFIG), RandomFeatures()
    params = make_scorer(config.scorer, features.blocks).init(jax.random.key(0))
    reward = PersonalizedReward.from_parts(config, params, features)
    ours = reward.for_community(people(max(arguments.people, 40) * PAIRS_PER_PERSON, features.table))
    inside = reward.for_community(people(arguments.people * PAIRS_PER_PERSON, features.table))
    result = {"without": serving(reward, arguments.repeats), "inside": serving(inside, arguments.repeats)}
    learning = []
    for count in arguments.pairs:
        started = time.perf_counter()
        ours = reward.for_community(people(count, features.table))
        seconds = time.perf_counter() - started
        known = int(ours.scoring.community["pairs"])  # type: ignore[attr-defined]
        learning.append(
            {"pairs": known, "seconds": seconds, "pairs_per_second": known / seconds, "peak_mb": megabytes()}
        )
        print(json.dumps(learning[-1]), flush=True)
    print(json.dumps({**provenance(), **result, "learning": learning}, indent=1))


if __name__ == "__main__":
    main()
