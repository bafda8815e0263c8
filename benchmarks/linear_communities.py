"""A linear world of three levels with known variances: the trained scorer against the Bayes-optimal predictor.

    OPENBLAS_NUM_THREADS=1 python benchmarks/linear_communities.py [--seeds 1] [--communities 100] [--steps 600]

A response is a vector x of 9 numbers; the first is what everyone likes. Person u of community c has the reward
`x_0 + (v_c + w_u) . x`, with `v_c ~ N(0, A)`, `w_u ~ N(0, B)`, A and B known and diagonal by block; labels follow
Bradley-Terry. `three_level_gp` is meta-trained on 60 communities of 40 people, of whom at most 12 are known at a time.
It is judged on 5 people of each of 100 new communities, with G of 20 other people (8 pairs each, the same for the 5)
and K own pairs.

The optimum is the mean probability over the exact posterior under the true A and B: Hamiltonian Monte Carlo on v, w_u
and the weights of all other people, in double precision; two chains of every person, whose difference is printed.

Bar: within 1 point of the optimum at every (G, K). Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from machine import provenance

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import (
    DataConfig,
    EpisodeConfig,
    OptimizerConfig,
    PersonaSource,
    ThreeLevelGPConfig,
    TrainConfig,
)
from fspo_jax.config.checks import MOST_COMMUNITY_PAIRS
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.evaluation.communities import CommunityRows
from fspo_jax.evaluation.community_level import learned_inside
from fspo_jax.evaluation.controls import first_pairs
from fspo_jax.metrics import correctness, interval, log_loss, predicted, probability, user_means
from fspo_jax.models.features.style import FEATURES, STYLE
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.fit import fit
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.types import Episode

PEOPLE, SHOTS, COMMUNITY_PAIRS, QUERIES = (0, 5, 20), (0, 2, 8), 8, 16
TRAINED_ON = (60, 40, 24)
"""Communities of meta-training, people of each, and pairs of each person."""

SCORER = ThreeLevelGPConfig("three_level_gp")

JUDGED = 5
"""Judged people of each community."""

LONGEST_STEP = 0.35
"""Of Hamiltonian Monte Carlo; five of them are about a quarter of an orbit, after which a draw is most independent."""

WIDTH = 4
"""Columns of each of the two blocks."""

BLOCKS = {"sentence_a": WIDTH, "sentence_b": WIDTH, STYLE: len(FEATURES)}
LENGTH = list(FEATURES).index("log_characters")
"""The column of the style block that holds what everyone likes. The others are empty."""

COMMUNITY_DEVIATION = np.r_[0.4, np.full(WIDTH, 1.5 / WIDTH**0.5), np.full(WIDTH, 0.5 / WIDTH**0.5)]
PERSON_DEVIATION = np.r_[0.4, np.full(WIDTH, 0.7 / WIDTH**0.5), np.full(WIDTH, 1.5 / WIDTH**0.5)]
"""Roots of A and B. Communities differ more by block a, people of a community by block b."""


def make_world(communities: int, people: int, pairs: int, seed: int) -> np.ndarray:
    """Labelled pairs `float32 [C, U, P, 2, 9]`, chosen first."""
    generator = np.random.default_rng(seed)
    width = len(COMMUNITY_DEVIATION)
    taste = generator.normal(size=(communities, 1, width)) * COMMUNITY_DEVIATION
    taste = taste + generator.normal(size=(communities, people, width)) * PERSON_DEVIATION
    taste[..., 0] += 1.0
    responses = generator.normal(size=(communities, people, pairs, 2, width))
    margin = np.einsum("cupd,cud->cup", responses[..., 0, :] - responses[..., 1, :], taste)
    first = generator.random(margin.shape) < probability(margin)
    return np.where(first[..., None, None], responses, responses[:, :, :, ::-1]).astype(np.float32)


def as_table(pairs: np.ndarray) -> tuple[EpisodeTable, np.ndarray]:
    """A world as a table, every response a text of its own, and every community a source; and its features."""
    communities, people, each = pairs.shape[:3]
    users = communities * people
    rows = np.arange(users * each * 2, dtype=np.int32)
    features = np.zeros((len(rows), sum(BLOCKS.values())), np.float32)
    flat = pairs.reshape(len(rows), -1)
    features[:, : 2 * WIDTH], features[:, 2 * WIDTH + LENGTH] = flat[:, 1:], flat[:, 0]
    table = EpisodeTable(
        rows.reshape(-1, 2),
        rows,
        np.arange(users, dtype=np.int32) * each,
        np.full(users, each, np.int32),
        (np.arange(1, users + 1) / users).astype(np.float32),
        np.repeat(np.arange(communities, dtype=np.int32), people),
    )
    return table, features


class Posterior(NamedTuple):
    """What is known about U persons: pairs of G others and of the person itself, as differences of responses.

    Attributes:
        others: `float64 [U, G, P, 9]`.
        own: `float64 [U, K, 9]`.
    """

    others: np.ndarray
    own: np.ndarray

    def loss_and_gradient(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Negative log posterior `[U]` and its gradient, for weights in units of their prior deviations.

        Args:
            z: `[U, 2 + G, 9]`: of the community, of the person, and of the others.
        """
        community, person = z[:, 0] * COMMUNITY_DEVIATION, z[:, 1] * PERSON_DEVIATION
        others = community[:, None] + z[:, 2:] * PERSON_DEVIATION
        offsets = self.others[..., 0], self.own[..., 0]
        margins = (
            offsets[0] + np.einsum("ugpd,ugd->ugp", self.others, others),
            offsets[1] + np.einsum("ukd,ud->uk", self.own, community + person),
        )
        loss = 0.5 * np.square(z).sum((1, 2)) + np.logaddexp(0, -margins[0]).sum((1, 2))
        loss += np.logaddexp(0, -margins[1]).sum(1)
        of_others = -np.einsum("ugpd,ugp->ugd", self.others, probability(-margins[0]))
        of_own = -np.einsum("ukd,uk->ud", self.own, probability(-margins[1]))
        gradient = z.copy()
        gradient[:, 0] += (of_others.sum(1) + of_own) * COMMUNITY_DEVIATION
        gradient[:, 1] += of_own * PERSON_DEVIATION
        gradient[:, 2:] += of_others * PERSON_DEVIATION
        return loss, gradient

    def masses(self) -> np.ndarray:
        """About the curvature of the log posterior, `[U, 2 + G, 9]`."""
        others, own = np.square(self.others).sum(2), np.square(self.own).sum(1)
        every = [(others.sum(1) + own) * COMMUNITY_DEVIATION**2, own * PERSON_DEVIATION**2]
        parts = np.concatenate([np.stack(every, 1), others * PERSON_DEVIATION**2], 1)
        return 1.0 + 0.15 * parts


def optimal(known: Posterior, queries: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """Posterior mean probability of each query's label, `float64 [U, Q]`, by Hamiltonian Monte Carlo.

    Args:
        known: The data.
        queries: `[U, Q, 9]`, differences of responses.
        draws: Number of draws after half as many that are thrown away.
        seed: Of the chain.
    """
    generator = np.random.default_rng(seed)
    users, others = known.others.shape[:2]
    z, masses = np.zeros((users, 2 + others, queries.shape[-1])), known.masses()
    loss, gradient = known.loss_and_gradient(z)
    total, size = np.zeros(queries.shape[:2]), np.full(users, LONGEST_STEP)
    for draw in range(draws + draws // 2):
        momentum = generator.normal(size=z.shape) * np.sqrt(masses)
        before = loss + 0.5 * (momentum**2 / masses).sum((1, 2))
        step = (size * generator.uniform(0.8, 1.2, users))[:, None, None]
        moved, slope = z, gradient
        for _ in range(5):
            momentum = momentum - 0.5 * step * slope
            moved = moved + step * momentum / masses
            after, slope = known.loss_and_gradient(moved)
            momentum = momentum - 0.5 * step * slope
        change = before - after - 0.5 * (momentum**2 / masses).sum((1, 2))
        taken = np.log(generator.random(users)) < change
        z, gradient = (
            np.where(taken[:, None, None], moved, z),
            np.where(taken[:, None, None], slope, gradient),
        )
        loss = np.where(taken, after, loss)
        if draw < draws // 2:  # steps for an acceptance of about 0.8
            size *= np.exp(0.1 * (np.exp(np.minimum(change, 0.0)) - 0.8))
            size = np.minimum(size, LONGEST_STEP)
            continue
        weights = z[:, 0] * COMMUNITY_DEVIATION + z[:, 1] * PERSON_DEVIATION
        total += probability(queries[..., 0] + np.einsum("uqd,ud->uq", queries, weights))
    return total / draws


def trained(seed: int, steps: int) -> tuple[object, object]:
    """The scorer and its parameters, meta-trained on a world of its own."""
    config = TrainConfig(
        seed=seed,
        steps=steps,
        objective="bradley_terry",
        data=DataConfig(sources=(PersonaSource(seed=0, personas=8, prompts=8),)),  # stored, not read
        scorer=SCORER,
        optimizer=OptimizerConfig(learning_rate=2e-2),
        episodes=EpisodeConfig(
            max_context=max(SHOTS),
            queries=8,
            communities=8,
            community_people=min(max(PEOPLE), MOST_COMMUNITY_PAIRS // COMMUNITY_PAIRS),
            community_pairs=COMMUNITY_PAIRS,
        ),
        steps_per_dispatch=20,
        evaluate_every=steps // 3 // 20 * 20,
    )
    scorer = make_scorer(config.scorer, BLOCKS)
    train, validation = (
        as_table(make_world(*TRAINED_ON, 10 + seed)),
        as_table(make_world(TRAINED_ON[0] // 6, *TRAINED_ON[1:], 1_000 + seed)),
    )
    with tempfile.TemporaryDirectory() as directory:
        params, _ = read_reward(fit(HeadTask(config, scorer, *train, *validation), Path(directory, "run")))
    return scorer, params


def run(seed: int, communities: int, steps: int, draws: int) -> list[dict[str, object]]:
    """Trains and judges with one seed; a row for each (G, K)."""
    scorer, params = trained(seed, steps)
    world = make_world(communities, JUDGED + max(PEOPLE), max(SHOTS) + QUERIES, 2_000 + seed)
    table, features = as_table(world)
    pairs = table.pairs.reshape(*world.shape[:3], 2)
    own = pairs[:, :JUDGED].reshape(-1, pairs.shape[2], 2)
    others = np.repeat(pairs[:, JUDGED:, :COMMUNITY_PAIRS], JUDGED, axis=0)
    everything = np.ones((len(own), max(SHOTS)), bool)
    queries = own[:, max(SHOTS) :]
    episode = Episode(own[:, : max(SHOTS)], everything, queries, np.ones(queries.shape[:2], bool))
    versions = [first_pairs(episode, shots) for shots in SHOTS]
    inside = learned_inside(scorer, jax.tree.map(np.asarray, params), features, table.texts)

    flat = world.reshape(-1, world.shape[-1]).astype(np.float64)

    def differences(rows: np.ndarray) -> np.ndarray:
        return flat[rows[..., 0]] - flat[rows[..., 1]]

    rows = []
    for people in PEOPLE:
        known = others[:, :people]
        ours = inside(CommunityRows(known, np.ones(known.shape[:3], bool)), versions)
        for shots, margins in zip(SHOTS, ours, strict=True):
            posterior = Posterior(differences(known), differences(own[:, :shots]))
            chains = [optimal(posterior, differences(queries), draws=draws, seed=chain) for chain in (0, 1)]
            best, chance = np.mean(chains, 0), predicted(*margins)
            right = [user_means(correctness(p - 0.5), episode.query_mask) for p in (chance, best)]
            losses = [float(log_loss(p).mean()) for p in (chance, best)]
            rows.append(
                {
                    "seed": seed,
                    "people": people,
                    "shots": shots,
                    "accuracy": float(right[0].mean()),
                    "bayes_optimal": float(right[1].mean()),
                    "difference": interval(right[0] - right[1]),
                    "log_loss": losses[0],
                    "bayes_optimal_log_loss": losses[1],
                    "difference_of_chains": float(np.abs(chains[0] - chains[1]).mean()),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--communities", type=int, default=100)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--draws", type=int, default=300)
    given = parser.parse_args()
    rows = [
        row for seed in range(given.seeds) for row in run(seed, given.communities, given.steps, given.draws)
    ]
    worst = min(row["difference"].mean for row in rows)
    print(json.dumps({**provenance(), "worst_difference": worst, "bar": -0.01, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
