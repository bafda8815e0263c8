"""What it is worth to ask well: accuracy and regret after each label, for pairs asked by BALD, by EUBO and at random.

    python benchmarks/asking.py fspo-mini --people polis_en.jsonl.gz
    python benchmarks/asking.py fspo-mini --personas 200

PEOPLE has rows of pairs; only the people that the reward was validated on are used. Without it, personas of the
synthetic world are made, with a seed of their own. A person's pairs are split at random into queries, on which accuracy
is measured, and a pool, from which pairs are asked and answered by the person's own labels. No pair of the pool shares
a response with a query. Regret is that of the response that is ranked first, in nats of a persona's true utility. All
three ask the same people from the same pools. People whose pool is smaller than the number of labels are left out.

Prints one JSON object: accuracy in per cent and regret after each label with 95 % intervals over people; the difference
to random pairs; how many labels reach the accuracy of random pairs after the last label; and how often the other answer
would have changed the next question. `--picture FILE.svg` also draws the curve.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from machine import new_file, provenance, run_benchmark

from fspo_jax import PersonalizedReward, UserReward, next_pairs
from fspo_jax.asking import ACQUISITIONS, Acquisition
from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.world import world_users
from fspo_jax.data.sources import load_users
from fspo_jax.data.splits import split_users
from fspo_jax.evaluation.plots import few_shot_curve, to_svg
from fspo_jax.metrics import interval
from fspo_jax.types import Preference, User

RANDOM_REPEATS = 4
"""Random orders for each person, over which the random curve is averaged."""

CANDIDATE_SETS = 8
"""Largest number of a person's candidate sets on which regret is measured."""


class Asked(NamedTuple):
    """What was found after 0, 1, ... labels of one person.

    Attributes:
        accuracy: Share of the queries that are predicted, ties one half.
        regret: Of the response that is ranked first, in nats, averaged over candidate sets; NaN without any.
        changes: Share of the answers of which the other would have changed the next question; NaN for random pairs.
    """

    accuracy: np.ndarray
    regret: np.ndarray
    changes: float


def accuracy_of(user: UserReward, queries: Sequence[Preference]) -> float:
    found = user.base.scoring.margin_posterior(user.state, queries)
    assert found is not None, "the reward has no uncertainty"
    margins = found.rewards[:, 0] - found.rewards[:, 1]
    return float(((margins > 0) + 0.5 * (margins == 0)).mean())


def regret_of(user: UserReward, person: User) -> float:
    lost = [
        max(one.utilities) - one.utilities[int(user.score(one.prompt, one.candidates).argmax())]
        for one in person.candidate_sets[:CANDIDATE_SETS]
    ]
    return float(np.mean(lost)) if lost else float("nan")


def asked(
    reward: PersonalizedReward,
    person: User,
    pool: list[Preference],
    queries: list[Preference],
    labels: int,
    by: Acquisition,
    seed: int,
) -> Asked:
    """Asks a person one pair after the other. Which response of a pair of the pool was chosen is not read by it."""
    user = reward.adapt()
    accuracies, regrets, changed = [accuracy_of(user, queries)], [regret_of(user, person)], []
    order = next_pairs(user, pool, labels, by="random", seed=seed) if by == "random" else []
    question = order[0] if order else next_pairs(user, pool, 1, by=by)[0]
    for label in range(1, labels + 1):
        before, user = user, user.update([question.answered("a")])  # a is what the person chose
        accuracies.append(accuracy_of(user, queries))
        regrets.append(regret_of(user, person))
        if label == labels:
            break
        if by == "random":
            question = order[label]
            continue
        turned = before.update([question.answered("b")])
        question = next_pairs(user, pool, 1, by=by)[0]
        changed.append(next_pairs(turned, pool, 1, by=by)[0][:3] != question[:3])
    return Asked(
        np.array(accuracies), np.array(regrets), float(np.mean(changed)) if changed else float("nan")
    )


def of_person(
    reward: PersonalizedReward, person: User, labels: int, queries: int, seed: int
) -> dict[Acquisition, Asked] | None:
    """The paths of each way of asking, with one pool for all; None if the pool is too small."""
    pairs = {(pair.prompt, frozenset((pair.chosen, pair.rejected))): pair for pair in person.preferences}
    own = [list(pairs.values())[i] for i in np.random.default_rng(seed).permutation(len(pairs))]
    held = min(queries, len(own) // 2)
    rest, texts = own[:held], {text for pair in own[:held] for text in (pair.chosen, pair.rejected)}
    pool = [pair for pair in own[held:] if not texts & {pair.chosen, pair.rejected}]
    if not rest or len(pool) < labels:
        return None
    found: dict[Acquisition, Asked] = {}
    for by in ACQUISITIONS:
        repeats = RANDOM_REPEATS if by == "random" else 1
        paths = [asked(reward, person, pool, rest, labels, by, seed + i) for i in range(repeats)]
        found[by] = Asked(
            np.mean([path.accuracy for path in paths], 0),
            np.mean([path.regret for path in paths], 0),
            float(np.mean([path.changes for path in paths])),
        )
    return found


def table(paths: Sequence[dict[Acquisition, Asked]]) -> dict[str, dict]:
    """The numbers of each way of asking over people."""
    random = np.array([path["random"].accuracy for path in paths])
    found: dict[str, dict] = {}
    for by in ACQUISITIONS:
        accuracy, regret = (
            np.array([getattr(path[by], name) for path in paths]) for name in ("accuracy", "regret")
        )
        reached = np.flatnonzero(accuracy.mean(0) >= random.mean(0)[-1])
        found[by] = {
            "accuracy": [_rounded(100 * column, 1) for column in accuracy.T],
            "minus_random": [_rounded(100 * column, 1) for column in (accuracy - random).T],
            "labels_to_reach_random": int(reached[0]) if len(reached) else None,
        }
        if not np.isnan(regret).any():
            found[by]["regret"] = [_rounded(column, 3) for column in regret.T]
        if by != "random":
            found[by]["other_answer_changes_next"] = _rounded(
                np.array([path[by].changes for path in paths]), 2
            )
    return found


def _rounded(values: np.ndarray, digits: int) -> list[float]:
    return [round(float(value), digits) for value in interval(values)]


def people_of(reward: PersonalizedReward, path: str, personas: int) -> list[User]:
    if not path:
        source = PersonaSource(seed=20, personas=personas, prompts=60, pairs=60)
        return world_users(source, "train", validation_fraction=0.0, test_fraction=0.0, split_seed=0)
    data = reward.config.data
    return split_users(
        load_users(path).users,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
        split_seed=data.split_seed,
    )["validation"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reward")
    parser.add_argument("--people", default="", help="rows of pairs; without it, personas")
    parser.add_argument("--personas", type=int, default=50, help="number of personas of each domain")
    parser.add_argument("--most", type=int, default=300, help="largest number of people")
    parser.add_argument("--labels", type=int, default=8)
    parser.add_argument("--queries", type=int, default=20, help="at most half of a person's pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=new_file, help="where to draw the curve, as SVG")
    arguments = parser.parse_args()
    reward = PersonalizedReward.load(arguments.reward)
    people = people_of(reward, arguments.people, arguments.personas)
    order = np.random.default_rng(arguments.seed).permutation(len(people))[: arguments.most]
    found = (of_person(reward, people[i], arguments.labels, arguments.queries, arguments.seed) for i in order)
    paths = [path for path in found if path is not None]
    if not paths:
        parser.error(
            "nobody has a pool of that many pairs; give other people, fewer --labels or fewer --queries"
        )
    if arguments.picture:
        curves = {
            by: [interval(column) for column in np.array([path[by].accuracy for path in paths]).T]
            for by in ACQUISITIONS
        }
        Path(arguments.picture).write_text(to_svg(few_shot_curve(curves, range(arguments.labels + 1))))
    print(
        json.dumps(
            {**provenance(), "reward": repr(reward), "people": len(paths), "by": table(paths)}, indent=1
        )
    )


if __name__ == "__main__":
    run_benchmark(main)
