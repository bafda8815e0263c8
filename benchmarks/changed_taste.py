"""A taste that changes: what five new pairs are worth after eight old ones of the opposite taste, and what a half-life
costs a person whose taste is steady.

    python benchmarks/changed_taste.py fspo-mini --people polis_en.jsonl.gz --statements trait_statements.jsonl.gz

PEOPLE has rows of pairs; only the people that the reward was validated on are used. STATEMENTS has rows `{trait,
statement, holder_says}`, from which personas are made. Both are on unseen people, with at least 21 pairs each. The old
taste is made of a person's own pairs with chosen and rejected swapped. Prints one JSON object: accuracy in per cent on
the person's other pairs with a 95 % interval over people, and the share of what the new pairs give alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from machine import provenance, run_benchmark

from fspo_jax import PersonalizedReward
from fspo_jax.config import TraitSource
from fspo_jax.data.personas.traits import trait_users
from fspo_jax.data.sources import load_users
from fspo_jax.data.splits import split_users
from fspo_jax.metrics import interval
from fspo_jax.types import Preference, User

OLD, NEW, STEADY, QUERIES = 8, 5, (8, 16), 20
HALF_LIVES = (3, 4, 6, 8, 12, 16, 32)
DAYS, HALF_LIFE_IN_DAYS = [*range(OLD), *range(180, 180 + NEW)], 90
"""Old pairs on the days of one week, new ones half a year later."""


def swapped(pair: Preference) -> Preference:
    return Preference(pair.prompt, chosen=pair.rejected, rejected=pair.chosen)


def correct(
    reward: PersonalizedReward,
    contexts: Sequence[Sequence[Preference]],
    queries: Sequence[Sequence[Preference]],
    half_life: float | None = None,
    days: Sequence[float] | None = None,
) -> np.ndarray:
    """Share of right predictions of each person."""
    shares = []
    for context, asked in zip(contexts, queries, strict=True):
        user = reward.adapt(context, half_life=half_life, days=days)
        prompts = {pair.prompt for pair in asked}
        right = []
        for prompt in prompts:
            pairs = [pair for pair in asked if pair.prompt == prompt]
            scores = user.score(prompt, [text for pair in pairs for text in (pair.chosen, pair.rejected)])
            margins = scores[::2] - scores[1::2]
            right += [(margins > 0) + 0.5 * (margins == 0)]
        shares.append(np.concatenate(right).mean())
    return np.array(shares)


def measured(reward: PersonalizedReward, people: Sequence[User]) -> dict:
    """Tables of one source."""
    most = max(STEADY)
    pairs = [user.preferences for user in people]
    queries = [own[most : most + QUERIES] for own in pairs]
    old = [[swapped(pair) for pair in own[:OLD]] for own in pairs]
    new = [list(own[OLD : OLD + NEW]) for own in pairs]
    nobody = correct(reward, [[]] * len(pairs), queries)
    alone = correct(reward, new, queries)

    def row(found: np.ndarray) -> dict:
        return {
            "accuracy": [round(100 * value, 1) for value in interval(found)],
            "share_of_gain": round(float((found.mean() - nobody.mean()) / (alone.mean() - nobody.mean())), 2),
        }

    changed = {"new pairs alone": row(alone), "no pairs": row(nobody)}
    steady: dict[str, dict] = {}
    both = [a + b for a, b in zip(old, new, strict=True)]
    changed[f"half-life {HALF_LIFE_IN_DAYS} days, old pairs half a year ago"] = row(
        correct(reward, both, queries, HALF_LIFE_IN_DAYS, DAYS)
    )
    for half_life in (None, *HALF_LIVES):
        changed[f"half-life {half_life}"] = row(correct(reward, both, queries, half_life))
    for shots in STEADY:
        contexts = [own[:shots] for own in pairs]
        plain = correct(reward, contexts, queries)
        steady[f"{shots} pairs"] = {"none": [round(100 * value, 1) for value in interval(plain)]}
        for half_life in HALF_LIVES:
            lost = correct(reward, contexts, queries, half_life) - plain
            steady[f"{shots} pairs"][f"half-life {half_life}"] = [
                round(100 * value, 2) for value in interval(lost)
            ]
    return {"people": len(pairs), "changed": changed, "steady, difference to none": steady}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward")
    parser.add_argument("--people")
    parser.add_argument("--statements")
    parser.add_argument("--most", type=int, default=300, help="largest number of people of a source")
    arguments = parser.parse_args()
    reward = PersonalizedReward.load(arguments.reward)
    sources = {}
    if arguments.people:
        data = reward.config.data
        users = split_users(
            load_users(arguments.people).users,
            validation_fraction=data.validation_fraction,
            test_fraction=data.test_fraction,
            split_seed=data.split_seed,
        )["validation"]
        sources["people"] = [user for user in users if len(user.preferences) > max(STEADY) + 4]
    if arguments.statements:
        its = TraitSource(
            1, arguments.statements, arguments.most, traits=3, pairs=36, part="last", statements=200
        )
        fractions = {"validation_fraction": 0.0, "test_fraction": 0.0, "split_seed": 0}
        sources["personas"] = trait_users(its, "train", **fractions)
    found = {name: measured(reward, users[: arguments.most]) for name, users in sources.items()}
    print(json.dumps({**provenance(), "reward": repr(reward), "sources": found}, indent=1))


if __name__ == "__main__":
    run_benchmark(main)
