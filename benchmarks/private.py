"""What differential privacy of each person costs a community.

    OPENBLAS_NUM_THREADS=1 python benchmarks/private.py [--people 100 1000] [--seeds 2]

Planted communities: the weights that people have in common, and those of each person, are drawn from the prior of a new
scorer, and pairs are labelled by them. Features are random: independent, or mostly a mixture of 8 directions, as the
texts of one survey are. Judged are 200 other people of the community without own pairs. Infinity is the mechanism
without noise, "exact" is `for_community` without privacy, "truth" knows the weights. Needs the extra `privacy`. Prints
one JSON object: accuracy in per cent, mean over seeds.
"""

from __future__ import annotations

import argparse
import json
from types import MappingProxyType

import jax
import numpy as np
from community import CONFIG
from machine import provenance

from fspo_jax import PersonalizedReward, Preference, Privacy
from fspo_jax.config import config_from_dict
from fspo_jax.models.features.style import FEATURES
from fspo_jax.models.scorers.make import make_scorer

DELTA, PAIRS, JUDGED, DIRECTIONS = 1e-5, 8, 200, 8


class NoNoise(Privacy):
    """The mechanism without noise, which is not private."""

    @property
    def sigma(self) -> float:
        return 0.0


LEVELS = {
    **{f"{epsilon:g}": Privacy(epsilon, DELTA) for epsilon in (1.0, 3.0, 10.0)},
    "infinity": NoNoise(100.0, 0.1),
}


class NumberedFeatures:
    """Rows of a table by the number that is the text."""

    blocks = MappingProxyType({"sentence": 32, "style": len(FEATURES)})
    dimension = sum(blocks.values())
    fingerprint = "numbered"

    def __init__(self, directions: int, generator: np.random.Generator):
        table = generator.normal(size=(5_000, self.dimension))
        if directions:
            mixed = generator.normal(size=(len(table), directions))
            mixed = mixed @ generator.normal(size=(directions, self.dimension)) / directions**0.5
            table = 0.3**0.5 * table + 0.7**0.5 * mixed
        self.table = table.astype(np.float32)

    def __call__(self, prompts, responses) -> np.ndarray:
        return self.table[[int(text) for text in responses]]

    def warm_up(self) -> None:
        """Nothing is compiled."""


def run(count: int, directions: int, seed: int) -> dict[str, float]:
    """Accuracies by epsilon, for one community."""
    generator = np.random.default_rng([seed, count, directions])
    features, config = NumberedFeatures(directions, generator), config_from_dict(CONFIG)
    params = make_scorer(config.scorer, features.blocks).init(jax.random.key(0))
    reward = PersonalizedReward.from_parts(config, params, features)
    scoring = reward.scoring
    rows = np.asarray(scoring.scorer.represent(params, features.table))  # type: ignore[attr-defined]
    nobody = reward.for_community(privacy=LEVELS["infinity"])
    inside = nobody.scoring
    common = np.sqrt(np.diagonal(inside.community["covariance"][0]))  # type: ignore[attr-defined]
    own = np.sqrt(np.asarray(nobody.adapt().state.personal[0]))
    shared = generator.normal(size=len(common)) * common
    known = rows[:, 0] + rows[:, 1:] @ shared
    people = []
    for _ in range(count + JUDGED):
        rewards = known + rows[:, 1:] @ (generator.normal(size=len(own)) * own)
        numbers = generator.integers(0, len(rows), (PAIRS, 2))
        wins = generator.random(PAIRS) < 1 / (1 + np.exp(rewards[numbers] @ [-1.0, 1.0]))
        chosen = np.where(wins[:, None], numbers, numbers[:, ::-1])
        people.append([Preference("p", str(a), str(b)) for a, b in chosen if a != b])
    given, judged = people[:count], people[count:]

    def accuracy(ours: PersonalizedReward) -> float:
        return right(rows[:, 0] + rows[:, 1:] @ ours.scoring.community["mean"][0])  # type: ignore[attr-defined]

    def right(rewards: np.ndarray) -> float:
        pairs = [pair for person in judged for pair in person]
        return 100 * float(np.mean([rewards[int(p.chosen)] > rewards[int(p.rejected)] for p in pairs]))

    return {
        "nobody": accuracy(nobody),
        **{name: accuracy(reward.for_community(given, privacy=privacy)) for name, privacy in LEVELS.items()},
        "exact": accuracy(reward.for_community(given)),
        "truth": right(known),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, nargs="+", default=[100, 1_000])
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    table = {}
    for directions in (0, DIRECTIONS):
        for count in arguments.people:
            rows = [run(count, directions, seed) for seed in range(arguments.seeds)]
            means = {name: round(float(np.mean([row[name] for row in rows])), 1) for name in rows[0]}
            table[f"{count} people, {directions or 'all'} directions"] = means
    print(json.dumps({**provenance(), "delta": DELTA, "accuracy": table}, indent=1))


if __name__ == "__main__":
    main()
