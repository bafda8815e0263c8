"""Linear personas with a known prior: the meta-trained Gaussian process against the Bayes-optimal predictor.

    python benchmarks/linear_personas.py [--seeds 3]

A persona is a vector `w ~ N(m, S)` with fixed m and S; a response is a feature vector; labels follow Bradley-Terry on
`w . features`. The scorer is meta-trained on 2,000 personas and judged on 1,000 others, at 0 to 32 shots. The optimum
is the posterior mean probability under the true prior: importance sampling with 2,000 draws from the Laplace
approximation (its smallest effective sample size is printed).

Bar: within 1 point of the optimum at every number of shots. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from machine import provenance

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import (
    DataConfig,
    EpisodeConfig,
    OptimizerConfig,
    PersonaSource,
    PreferentialGPConfig,
    TrainConfig,
)
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.metrics import interval
from fspo_jax.models.scorers.contract import query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.models.scorers.preferential_gp import laplace_posterior
from fspo_jax.training.fit import fit
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.types import Episode

WIDTH, PAIRS, SHOTS, QUERIES, DRAWS = 8, 48, (0, 2, 4, 8, 16, 32), 16, 2_000


def prior() -> tuple[np.ndarray, np.ndarray]:
    """Mean `[D]` and a root `[D, D]` of the covariance: deviations from 0.2 to 2, rotated."""
    generator = np.random.default_rng(0)
    rotation = np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]
    return 0.5 * generator.normal(size=WIDTH), rotation * np.geomspace(0.2, 2.0, WIDTH)


def make_pairs(users: int, seed: int) -> np.ndarray:
    """Labelled pairs `float32 [U, P, 2, D]`, chosen first."""
    generator = np.random.default_rng(seed)
    mean, root = prior()
    w = mean + generator.normal(size=(users, WIDTH)) @ root.T
    pairs = generator.normal(size=(users, PAIRS, 2, WIDTH))
    margin = np.einsum("upd,ud->up", pairs[:, :, 0] - pairs[:, :, 1], w)
    first = generator.random(margin.shape) < 1 / (1 + np.exp(-margin))
    return np.where(first[..., None, None], pairs, pairs[:, :, ::-1]).astype(np.float32)


def as_table(pairs: np.ndarray) -> tuple[EpisodeTable, np.ndarray]:
    """The pairs as a table, every response a text of its own."""
    users = len(pairs)
    rows = np.arange(users * PAIRS * 2, dtype=np.int32)
    table = EpisodeTable(
        rows.reshape(-1, 2),
        rows,
        np.arange(users, dtype=np.int32) * PAIRS,
        np.full(users, PAIRS, np.int32),
        (np.arange(1, users + 1) / users).astype(np.float32),
        np.zeros(users, np.int32),
    )
    return table, pairs.reshape(-1, WIDTH)


@jax.jit
def optimal(
    context: jax.Array, mask: jax.Array, queries: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Posterior mean probability `[Q]` of each query's label, and the effective sample size, for one user."""
    mean, root = (jnp.asarray(part, jnp.float32) for part in prior())
    differences, asked = context[:, 0] - context[:, 1], queries[:, 0] - queries[:, 1]
    # In whitened coordinates z, w = mean + root z, the prior is standard normal.
    white = jnp.where(mask[:, None], differences @ root, 0.0)
    offsets = jnp.where(mask, differences @ mean, 0.0)
    mode = laplace_posterior(white, offsets, mask, 12).mean
    p = jax.nn.sigmoid(offsets + white @ mode)
    hessian = jnp.eye(WIDTH) + (white.T * jnp.where(mask, p * (1 - p), 0.0)) @ white
    spread = 1.1 * jnp.linalg.inv(jnp.linalg.cholesky(hessian)).T
    noise = jax.random.normal(key, (DRAWS, WIDTH))
    draws = mode + noise @ spread.T
    log_likelihood = jnp.where(mask, jax.nn.log_sigmoid(offsets + draws @ white.T), 0.0).sum(-1)
    weights = jax.nn.softmax(
        log_likelihood - 0.5 * jnp.square(draws).sum(-1) + 0.5 * jnp.square(noise).sum(-1)
    )
    probability = weights @ jax.nn.sigmoid(asked @ mean + draws @ (asked @ root).T)
    return probability, 1 / jnp.square(weights).sum()


def run(seed: int) -> list[dict[str, object]]:
    """Trains with one seed; a row a number of shots."""
    config = TrainConfig(
        seed=seed,
        steps=3_000,
        objective="bradley_terry",
        data=DataConfig(sources=(PersonaSource(seed=0, personas=8, prompts=8),)),  # stored, not read
        scorer=PreferentialGPConfig("preferential_gp", hidden=32, width=16),
        optimizer=OptimizerConfig(learning_rate=3e-3),
        episodes=EpisodeConfig(max_context=max(SHOTS), queries=QUERIES),
        evaluate_every=1_000,
    )
    scorer = make_scorer(config.scorer, {"features": WIDTH})
    train, validation = as_table(make_pairs(2_000, 10 + seed)), as_table(make_pairs(300, 1_000 + seed))
    with tempfile.TemporaryDirectory() as directory:
        params, _ = read_reward(fit(HeadTask(config, scorer, *train, *validation), Path(directory, "run")))
    test = make_pairs(1_000, 2_000 + seed)
    context, queries = test[:, : max(SHOTS)], test[:, max(SHOTS) :]
    everything = np.ones(queries.shape[:2], bool)
    margins = jax.jit(lambda episode: query_margins(scorer, params, episode)[0])
    rows = []
    for shots in SHOTS:
        mask = np.broadcast_to(np.arange(max(SHOTS)) < shots, context.shape[:2])
        ours = np.asarray(margins(Episode(context, mask, queries, everything))) > 0
        keys = jax.random.split(jax.random.key(seed), len(test))
        best, sizes = (
            np.concatenate(parts)
            for parts in zip(
                *(
                    jax.vmap(optimal)(context[s], mask[s], queries[s], keys[s])
                    for s in (slice(i, i + 100) for i in range(0, len(test), 100))
                ),
                strict=True,
            )
        )
        gap = ours.mean(1) - (best > 0.5).mean(1)
        rows.append(
            {
                "seed": seed,
                "shots": shots,
                "accuracy": float(ours.mean()),
                "bayes_optimal": float((best > 0.5).mean()),
                "difference": interval(gap),
                "smallest_effective_sample": float(sizes.min()),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    rows = [row for seed in seeds for row in run(seed)]
    worst = min(
        float(np.mean([row["difference"].mean for row in rows if row["shots"] == shots])) for shots in SHOTS
    )
    print(json.dumps({**provenance(), "worst_difference": worst, "bar": -0.01, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
