"""What makes synthetic personas good to meta-train on: how many kinds there are, and how consistently they label.

    python benchmarks/personas.py STATEMENTS [--seeds 3] [--steps 300]

STATEMENTS has rows `{trait, statement, holder_says}`. The preferential Gaussian process is meta-trained on frozen
features of personas over some of the traits (diversity) whose labels are flipped with some probability (structure), and
judged on personas over other traits, with labels that are never flipped. The number of personas, pairs and steps is the
same in every row. Prints one JSON object: accuracy in per cent at 0 and 8 shots, mean over seeds, with a 95 % interval
over the judged personas.

Source of the question: FSPO (Singh et al., 2025), section 4, asks for diversity and structure without measuring them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
from machine import provenance

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import (
    DataConfig,
    EncoderConfig,
    EpisodeConfig,
    OptimizerConfig,
    PreferentialGPConfig,
    TrainConfig,
    TraitSource,
)
from fspo_jax.data.episodes import evaluation_episodes, index_items
from fspo_jax.data.personas.traits import part_of, trait_users
from fspo_jax.metrics import correctness, interval, user_means
from fspo_jax.models.features.contract import featurize
from fspo_jax.models.features.make import make_featurizer
from fspo_jax.models.scorers.contract import query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.training.fit import fit
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.types import Episode

PERSONAS, JUDGED, SHOTS, QUERIES = 2000, 300, 8, 16
DIVERSITY = (4, 8, 16, 32, 64)
NOISE = (0.0, 0.1, 0.2, 0.3, 0.4)
FRACTIONS = {"validation_fraction": 0.1, "test_fraction": 0.0, "split_seed": 0}


def some_traits(path: str, count: int, seed: int, to: Path) -> str:
    """Writes the statements of `count` traits of the first part; returns where."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    names = sorted({row["trait"] for row in rows if part_of(row["trait"]) == "first"})
    taken = set(np.random.default_rng([seed, count]).permutation(names)[:count].tolist())
    kept = to / f"{count}-{seed}.jsonl"
    kept.write_text("\n".join(json.dumps(row) for row in rows if row["trait"] in taken), encoding="utf-8")
    return str(kept)


def source(path: str, part: str, *, personas: int, noise: float = 0.0, seed: int = 0) -> TraitSource:
    """Personas of three traits and 24 pairs."""
    return TraitSource(seed, path, personas, traits=3, pairs=24, part=part, label_noise=noise)


class Ablation:
    """Trains on one kind of personas after the other, and judges all on the same ones."""

    def __init__(self, path: str, steps: int):
        self._steps = steps
        self._featurizer = make_featurizer(EncoderConfig())
        judged = trait_users(source(path, "last", personas=JUDGED, seed=1), "train", **FRACTIONS)
        self._items, table = index_items(judged)
        self._rows = evaluation_episodes(table, max_context=SHOTS, queries=QUERIES, seed=0)
        features = featurize(self._featurizer, self._items)
        self._judged = self._rows._replace(
            context=features[self._rows.context], queries=features[self._rows.queries]
        )

    def accuracies(self, path: str, part: str, noise: float, seed: int) -> dict[int, np.ndarray]:
        """Accuracy of each judged persona at zero and at all shots."""
        its = source(path, part, personas=PERSONAS, noise=noise, seed=seed)
        tables = [index_items(trait_users(its, split, **FRACTIONS)) for split in ("train", "validation")]
        config = TrainConfig(
            seed=seed,
            steps=self._steps,
            objective="bradley_terry",
            data=DataConfig((its,)),
            scorer=PreferentialGPConfig("preferential_gp"),
            optimizer=OptimizerConfig(3e-3, weight_decay=1.0),
            episodes=EpisodeConfig(max_context=SHOTS),
            feature_dropout=0.5,
            population_baseline=False,
        )
        scorer = make_scorer(config.scorer, self._featurizer.blocks)
        known = [(table, featurize(self._featurizer, items)) for items, table in tables]
        with tempfile.TemporaryDirectory() as directory:
            run = fit(HeadTask(config, scorer, *known[0], *known[1]), Path(directory, "run"))
            params, _ = read_reward(run)

        @jax.jit
        def margins(episode: Episode) -> jax.Array:
            return query_margins(scorer, params, episode)[0]

        mask = self._judged.context_mask
        found = {}
        for shots in (0, SHOTS):
            episode = self._judged._replace(context_mask=mask & (np.arange(SHOTS) < shots))
            found[shots] = user_means(correctness(np.asarray(margins(episode))), self._judged.query_mask)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("statements")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    ablation, rows = Ablation(arguments.statements, arguments.steps), []
    with tempfile.TemporaryDirectory() as directory:
        settings = [(count, 0.0) for count in DIVERSITY] + [(DIVERSITY[-1], noise) for noise in NOISE[1:]]
        for count, noise in settings:
            found = [
                ablation.accuracies(
                    some_traits(arguments.statements, count, seed, Path(directory)), "first", noise, seed
                )
                for seed in range(arguments.seeds)
            ]
            of = {k: interval(np.mean([one[k] for one in found], axis=0)) for k in (0, SHOTS)}
            rows.append(
                {"traits": count, "label_noise": noise}
                | {f"accuracy@{k}": [round(100 * value, 1) for value in one] for k, one in of.items()}
            )
            print(rows[-1], flush=True)
    print(
        json.dumps(
            {**provenance(), "seeds": arguments.seeds, "steps": arguments.steps, "rows": rows}, indent=1
        )
    )


if __name__ == "__main__":
    main()
