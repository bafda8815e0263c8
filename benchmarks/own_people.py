"""What to do with people of one's own: 5 to 1,000 of them, and others of the same place who are then served.

    OPENBLAS_NUM_THREADS=1 python benchmarks/own_people.py PEOPLE [--traits STATEMENTS] [--reward fspo-mini] [--quick]

PEOPLE is a file of labelled pairs; with --traits, personas with traits that the shipped adapters were not trained on
come beside it. 300 people are served and judged; the own people are others. Ways:

- untrained: the reward as it is, `adapt` with the served person's pairs.
- community: `reward.for_community(own people)`, then the same.
- start: meta-training on the own people from the reward's parameters, with early stopping, then the same.
- from nothing: the same training from new parameters.
- logistic: one L2 logistic regression on all pairs of the own people, which is the prior mean and covariance of the
  served person's weights. Its amplitude is chosen on a fifth of the own people.

With --quick the two ways that train are left out. Prints one JSON object: accuracy in per cent and log loss in nats
at 0 and 8 pairs, with 95 % intervals over the served people, and the differences to untrained, paired by person.
Bars: community and start never worse than untrained by more than the interval; with 200 people better in log loss
than logistic and than from nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from machine import provenance, run_benchmark

from fspo_jax import PersonalizedReward, load_users
from fspo_jax.checkpoints import read_reward
from fspo_jax.config import TraitSource
from fspo_jax.data.episodes import index_items
from fspo_jax.data.personas.traits import trait_users
from fspo_jax.errors import FspoError
from fspo_jax.evaluation.community_baselines import laplace_mode, standardised
from fspo_jax.evaluation.controls import first_pairs
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.predict import Margins, log_odds, reward_method
from fspo_jax.metrics import correctness, interval, log_loss, probability, user_means
from fspo_jax.models.features.contract import featurize
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.fit import fit
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.types import Episode, User

COUNTS, SERVED, SHOTS, QUERIES = (5, 20, 50, 200, 1_000), 300, (0, 8), 16
AMPLITUDES = (0.3, 1.0, 3.0)
STEPS, EVALUATE_EVERY, PATIENCE = 400, 25, 3


def trained(reward: PersonalizedReward, own: Sequence[User], *, start: bool, seed: int) -> PersonalizedReward:
    """The reward, meta-trained on people; a fifth of them stop the training."""
    config, featurizer = reward.config, reward.scoring.featurizer
    episodes = dataclasses.replace(config.episodes, batch_size=32, communities=0)
    rate = config.optimizer.learning_rate * (0.3 if start else 1.0)
    optimizer = dataclasses.replace(config.optimizer, learning_rate=rate, warmup_steps=20)
    config = dataclasses.replace(
        config,
        seed=seed,
        steps=STEPS,
        steps_per_dispatch=EVALUATE_EVERY,
        evaluate_every=EVALUATE_EVERY,
        early_stopping=PATIENCE,
        episodes=episodes,
        optimizer=optimizer,
        start="given" if start else "",  # the start is evaluated, too
        population_baseline=False,
        mismatched_baseline=False,
    )
    held = max(1, len(own) // 5)
    parts = []
    for users in (own[held:], own[:held]):
        items, table = index_items(users)
        parts += [table, featurize(featurizer, items)]
    task = HeadTask(
        config,
        make_scorer(config.scorer, featurizer.blocks),
        *parts,
        featurizer=featurizer,
        start=reward.scoring.params if start else None,
    )
    with tempfile.TemporaryDirectory() as directory:
        params, _ = read_reward(fit(task, Path(directory, "run")))
    return PersonalizedReward.from_parts(config, params, featurizer)


def logistic(people: People, features: np.ndarray, own: np.ndarray) -> Margins:
    """One logistic regression on the own people's pairs; it is the prior of every other person."""

    def fitted(users: np.ndarray, amplitude: float) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean `[F]` and covariance `[F, F]`, by Newton's method."""
        pairs = people.pairs_of(users)
        rows = scaled[pairs[:, 0]] - scaled[pairs[:, 1]]
        mean, ridge = np.zeros(rows.shape[1]), np.eye(rows.shape[1]) / amplitude**2
        for _ in range(8):
            slope = probability(-(rows @ mean))
            precision = ridge + (rows.T * (slope * (1 - slope))) @ rows
            mean = mean + np.linalg.solve(precision, rows.T @ slope - ridge @ mean)
        return mean, np.linalg.inv(precision)

    def margins_of(mean: np.ndarray, covariance: np.ndarray) -> Margins:
        def margins(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
            found = np.zeros((2, *episode.query_mask.shape))
            for u, mask in enumerate(episode.query_mask):
                own, asked = (
                    scaled[pairs[:, 0]] - scaled[pairs[:, 1]]
                    for pairs in (episode.context[u][episode.context_mask[u]], episode.queries[u][mask])
                )
                gram, cross = own @ covariance @ own.T, asked @ covariance @ own.T
                weights = np.ones(len(own))
                alpha = laplace_mode(gram, own @ mean, weights)
                chance = probability(own @ mean + gram @ alpha)
                noise = np.diag(1 / np.maximum(chance * (1 - chance), 1e-9))
                explained = (cross * np.linalg.solve(gram + noise, cross.T).T).sum(1)
                found[0, u, mask] = asked @ mean + cross @ alpha
                found[1, u, mask] = np.maximum((asked @ covariance * asked).sum(1) - explained, 0.0)
            return found[0], found[1]

        return margins

    scaled = standardised(features, np.unique(people.pairs_of(own))).astype(np.float64)
    held = max(1, len(own) // 5)
    _, episode = people.episodes(own[:held], shots=max(SHOTS), queries=QUERIES, seed=0)
    losses = [losses_of(margins_of(*fitted(own[held:], a)), episode).mean() for a in AMPLITUDES]
    return margins_of(*fitted(own, AMPLITUDES[int(np.argmin(losses))]))


def losses_of(margins: Margins, episode: Episode) -> np.ndarray:
    """Log loss of each user, nats."""
    return user_means(log_loss(probability(log_odds(margins, episode))), episode.query_mask)


def curve(
    name: str, users: Sequence[User], reward: PersonalizedReward, seed: int, *, quick: bool
) -> list[dict[str, object]]:
    """A row for each number of own people, way and number of shots; `quick` as on the command line."""
    order = np.random.default_rng(seed).permutation(len(users))
    users = [users[i] for i in order]
    served = min(SERVED, len(users) // 3)
    people = People.of(users)
    numbers, whole = people.episodes(np.arange(served), shots=max(SHOTS), queries=QUERIES, seed=seed)
    rows, base = [], {}

    def margins_of(one: PersonalizedReward) -> Margins:
        return reward_method("", one, people, featurize(one.scoring.featurizer, people.items)).margins

    def record(way: str, count: int, margins: Margins) -> None:
        for shots in SHOTS:
            episode = first_pairs(whole, shots)
            right = user_means(correctness(log_odds(margins, episode)), episode.query_mask)
            losses = losses_of(margins, episode)
            base.setdefault(shots, (right, losses))
            row = {
                "source": name,
                "seed": seed,
                "way": way,
                "people": count,
                "shots": shots,
                "served": len(numbers),
            }
            row["accuracy"] = [round(100 * value, 1) for value in interval(right)]
            row["log_loss"] = [round(value, 4) for value in interval(losses)]
            row["accuracy_gain"] = [round(100 * value, 1) for value in interval(right - base[shots][0])]
            row["log_loss_gain"] = [round(value, 4) for value in interval(losses - base[shots][1])]
            rows.append(row)
            print(row, flush=True)

    record("untrained", 0, margins_of(reward))
    features = featurize(reward.scoring.featurizer, people.items)
    for count in COUNTS:
        own = np.arange(served, served + count)
        if own[-1] >= len(users):
            break
        theirs = [users[i] for i in own]
        try:
            record("community", count, margins_of(reward.for_community(theirs)))
        except FspoError as error:  # a reward of an older kind
            print(error)
        for way, start in () if quick else (("start", True), ("from nothing", False)):
            record(way, count, margins_of(trained(reward, theirs, start=start, seed=seed)))
        record("logistic", count, logistic(people, features, own))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("people")
    parser.add_argument("--traits", help="a file of statements {trait, statement, holder_says}")
    parser.add_argument("--reward", default="fspo-mini")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="leave out the ways that train")
    given = parser.parse_args()
    reward = PersonalizedReward.load(given.reward)
    sources = {"people": [user for user in load_users(given.people) if len(user.preferences) > 1]}
    if given.traits:
        personas = TraitSource(seed=100, path=given.traits, personas=SERVED + max(COUNTS), part="last")
        sources["traits"] = trait_users(
            personas, "train", validation_fraction=0.0, test_fraction=0.0, split_seed=0
        )
    rows = [
        row
        for seed in range(given.seeds)
        for name, users in sources.items()
        for row in curve(name, users, reward, seed, quick=given.quick)
    ]
    print(json.dumps({**provenance(), "reward": given.reward, "rows": rows}, indent=1))


if __name__ == "__main__":
    run_benchmark(main)
