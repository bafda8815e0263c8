"""A community in the quickstart: 20 real people of the sample, then other people of the same study inside it.

    python scripts/community.py [REWARD] [--study sample:ukp_convincing]

Prints how many of their other pairs are predicted: from nothing, from own pairs, from the community, and from both.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

import fspo_jax as fspo

PEOPLE, MEASURED, SHOTS = 20, 60, 8


def main() -> None:
    """Learns the community and measures the people who are not in it."""
    parser = argparse.ArgumentParser(description="A community of real people, and others inside it.")
    parser.add_argument("reward", nargs="?", default="fspo-mini")
    parser.add_argument("--study", default="sample:ukp_convincing")
    arguments = parser.parse_args()
    reward = fspo.PersonalizedReward.load(arguments.reward)
    users = [user for user in fspo.load_users(arguments.study) if len(user.preferences) >= SHOTS + 2]
    inside, others = users[:PEOPLE], users[PEOPLE : PEOPLE + MEASURED]
    started = time.perf_counter()
    ours = reward.for_community([user.preferences[:SHOTS] for user in inside])
    print(f"\n{ours}\nlearned in {time.perf_counter() - started:.1f} seconds, texts encoded")
    print(f"\nPairs of {len(others)} other people of {arguments.study} that are predicted, in per cent:\n")
    for known, prior, shots in (
        ("nothing known", reward, 0),
        (f"{SHOTS} pairs of the person", reward, SHOTS),
        (f"{PEOPLE} other people", ours, 0),
        (f"{PEOPLE} other people, and {SHOTS} own pairs", ours, SHOTS),
    ):
        print(f"  {known:35} {predicted(prior, others, shots):5.1f}")


def predicted(reward: fspo.PersonalizedReward, users: Sequence[fspo.User], shots: int) -> float:
    """Mean over users of the share of pairs behind the first `SHOTS` whose margin is positive, in per cent."""
    contexts = [user.preferences[:shots] for user in users]
    queries = [user.preferences[SHOTS:] for user in users]
    margins, _ = reward.margins(contexts, queries)
    rights = [np.mean(row[: len(asked)] > 0) for row, asked in zip(margins, queries, strict=True)]
    return 100 * float(np.mean(rights))


if __name__ == "__main__":
    main()
