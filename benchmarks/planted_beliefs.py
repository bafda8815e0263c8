"""Whether a reward believes the right sign of a planted taste of style, after eight questions.

    python benchmarks/planted_beliefs.py fspo-mini

For each column of style that differs in at least half of the pairs of the pool of `fspo serve`, two made-up people:
one always prefers the response with more of it, one the response with less. Each is asked the pairs that tell most, as
the page asks them.

Prints one JSON object: of how many people the belief about their column has the right sign, and for how many it is
fairly sure (a certainty of at least 0.8) and right, with the pool and with all else being equal.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from machine import provenance

from fspo_jax import PersonalizedReward, UserReward, next_pair
from fspo_jax.models.features.style import FEATURES, style_features
from fspo_jax.reward.explaining import LIKELY
from fspo_jax.serving.pool import bundled_pool
from fspo_jax.types import Preference, Prompt

LABELS = 8


def taught(reward: PersonalizedReward, pool: Sequence[Preference], column: int, sign: int) -> UserReward:
    """The reward of a person who likes or dislikes a column, after eight questions."""
    user, draw, seen = reward.adapt(), np.random.default_rng(column), set[Prompt]()
    for _ in range(LABELS):
        question = next_pair(user, pool, seen=seen)
        seen.add(question.prompt)
        a, b = (style_features(text)[column] for text in (question.a, question.b))
        prefers_a = sign * (a - b) > 0 if a != b else draw.random() < 0.5
        user = user.update([question.answered("a" if prefers_a else "b")])
    return user


def measure(reward: PersonalizedReward, pool: Sequence[Preference]) -> dict[str, Any]:
    """Counts the signs of beliefs about planted tastes."""
    values = np.array([[style_features(text) for text in (pair.chosen, pair.rejected)] for pair in pool])
    often = (np.abs(values[:, 0] - values[:, 1]) > 1e-6).mean(0) >= 0.5
    ways: dict[str, Sequence[Preference] | None] = {"pool": pool, "all else equal": None}
    found = {way: {"right": 0, "sure": 0, "sure and right": 0} for way in ways}
    people = [(int(column), sign) for column in np.flatnonzero(often) for sign in (1, -1)]
    for column, sign in people:
        user = taught(reward, pool, column, sign)
        for way, given in ways.items():
            (belief,) = [one for one in user.beliefs(given) if one.column == list(FEATURES)[column]]
            right, sure = belief.effect * sign > 0, belief.certainty >= LIKELY
            for name, true in (("right", right), ("sure", sure), ("sure and right", sure and right)):
                found[way][name] += bool(true)
    return {"people": len(people), "labels": LABELS, "beliefs": found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward", metavar="REWARD", help="with beliefs in words, such as fspo-mini")
    reward = PersonalizedReward.load(parser.parse_args().reward)
    print(json.dumps(measure(reward, list(bundled_pool().pairs.values())) | provenance(), indent=2))


if __name__ == "__main__":
    main()
