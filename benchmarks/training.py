"""Steps of meta-training a second, and what share of a step goes to sampling and dispatch.

    python benchmarks/training.py [--dispatches 10] [--repeats 3]

One step: 64 episodes of 8 context and 8 query pairs with 384 features, preferential Gaussian process with a
384-128-64 map, sampling included. Bars on 2 cores: at least 60 steps a second; sampling and dispatch below 10 % of
a step. Prints one JSON object with commit and machine.

Sampling is timed as the same scan without scorer and update. Dispatch is timed as a compiled call with the same
arguments, results and donation that does nothing, plus what `fit` does around a call (reading metrics, writing
them to JSONL and TensorBoard). The best repeat counts: others share the machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from fspo_jax.config import (
    DataConfig,
    EpisodeConfig,
    OptimizerConfig,
    PersonaSource,
    PreferentialGPConfig,
    TrainConfig,
)
from fspo_jax.data.episodes import EpisodeTable
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.partitioning import make_mesh, replicated
from fspo_jax.training.fit import fit
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.sampling import make_sampler
from fspo_jax.training.state import StepMetrics, first_state, random_keys
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.training.tasks.head_step import make_dispatch, make_loss, make_step

FEATURES, PAIRS, ROWS = 384, 48, 20_000

CONFIG = TrainConfig(
    seed=0,
    steps=1_000,
    objective="bradley_terry",
    data=DataConfig(sources=(PersonaSource(seed=0, personas=8, prompts=8),)),
    scorer=PreferentialGPConfig(kind="preferential_gp", hidden=128, width=64),
    optimizer=OptimizerConfig(learning_rate=1e-3),
    episodes=EpisodeConfig(batch_size=64, max_context=8, queries=8, flip_probability=0.5),
)


def synthetic_table(users: int = 1_000) -> tuple[EpisodeTable, np.ndarray]:
    """Users with random pairs of random features."""
    rng = np.random.default_rng(0)
    counts = np.full(users, PAIRS, np.int32)
    table = EpisodeTable(
        pairs=rng.integers(0, ROWS, (users * PAIRS, 2)).astype(np.int32),
        texts=np.arange(ROWS, dtype=np.int32),
        offsets=(np.cumsum(counts) - counts).astype(np.int32),
        counts=counts,
        cumulative=(np.arange(1, users + 1) / users).astype(np.float32),
        sources=np.zeros(users, np.int32),
    )
    features = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    return table, features / np.linalg.norm(features, axis=-1, keepdims=True)


def best_seconds(call: Callable[[], object], calls: int, repeats: int) -> float:
    """Seconds of one call: the best of `repeats` means over `calls`."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(call())
        seconds.append((time.perf_counter() - started) / calls)
    return min(seconds)


def measure(dispatches: int, repeats: int) -> dict[str, float]:
    """Times steps, sampling and dispatch; milliseconds of one step each."""
    mesh = make_mesh(1)
    everywhere = replicated(mesh)
    scorer = make_scorer(CONFIG.scorer, {"features": FEATURES})
    optimizer = make_optimizer(CONFIG.optimizer, CONFIG.steps)
    steps = CONFIG.steps_per_dispatch
    table, features = jax.device_put(synthetic_table(), everywhere)
    start = jax.jit(lambda: first_state(scorer.init(random_keys(0)[0]), optimizer), out_shardings=everywhere)
    sampler = make_sampler(CONFIG, synthetic_table()[0])

    def timed(dispatch: Callable) -> float:
        state = start()

        def call() -> object:
            nonlocal state
            state, metrics = dispatch(state, table, features)
            return metrics

        return best_seconds(call, dispatches, repeats) / steps * 1e3

    def nothing(state, table, features):
        state = state._replace(step=state.step + steps)
        return state, StepMetrics(jnp.zeros(steps), jnp.zeros(steps))

    @jax.jit
    def sample(table: EpisodeTable, first: jax.Array) -> jax.Array:
        def one(total: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
            return total + sum(leaf.sum() for leaf in sampler(step, table).episode), None

        return jax.lax.scan(one, jnp.zeros((), jnp.int32), first + jnp.arange(steps))[0]

    with tempfile.TemporaryDirectory() as directory:
        config = dataclasses.replace(CONFIG, steps=steps * dispatches, evaluate_every=steps * dispatches)
        task = HeadTask(config, scorer, *synthetic_table(), *synthetic_table(users=50))
        metrics = fit(task, Path(directory, "run")).parent / "metrics.jsonl"
        rows = [json.loads(line) for line in metrics.read_text().splitlines()][:-1]  # the last one evaluates
    around = [
        after["time"] - before["time"] - steps / after["steps_per_second"] for before, after in pairwise(rows)
    ]

    step = timed(make_dispatch(make_step(sampler, make_loss(CONFIG, scorer), optimizer, mesh), steps, mesh))
    empty = jax.jit(nothing, out_shardings=everywhere, donate_argnums=0)
    sampling = best_seconds(lambda: sample(table, jnp.int32(0)), dispatches, repeats) / steps * 1e3
    dispatch = timed(empty) + statistics.median(around) / steps * 1e3
    return {
        "steps_per_second": round(1e3 / step, 1),
        "step_ms": round(step, 3),
        "sampling_ms": round(sampling, 4),
        "dispatch_ms": round(dispatch, 4),
        "sampling_and_dispatch_share": round((sampling + dispatch) / step, 4),
    }


def provenance() -> dict[str, object]:
    """Commit, versions and machine."""
    root = Path(__file__).resolve().parents[1]
    git = ["git", "-C", str(root)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "fspo_jax"]).returncode != 0
    return {
        "commit": commit + ("+changes" if changed else ""),
        "command": "python benchmarks/training.py",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {jax.devices()[0].device_kind}",
        "versions": {"python": platform.python_version(), "jax": jax.__version__},
        "load_average": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dispatches", type=int, default=10, help="calls of 50 steps in one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(json.dumps(provenance() | measure(arguments.dispatches, arguments.repeats), indent=2))


if __name__ == "__main__":
    main()
