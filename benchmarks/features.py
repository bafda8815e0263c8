"""Which features of (prompt, response) serve best, judged on meta-validation users.

    python benchmarks/features.py configs/real.toml [--seeds 1] [--set key=value ...]

Meta-trains the config's scorer on features that differ in one choice from `response` with hidden layer 2 and style
features, and prints the best validation log
loss (mean over shots and users; the measure that selects checkpoints) and accuracies. Test users are not loaded. Prints
one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

from machine import provenance

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import load_config
from fspo_jax.training.train import train

CHOICES = (
    {},
    {"style": False},
    {"hidden_layer": 0},
    {"hidden_layer": 0, "style": False},
    {"hidden_layer": 4},
    {"recipe": "joint"},
    {"recipe": "interaction"},
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="+", default=[], dest="overrides")
    arguments = parser.parse_args()
    config = load_config(arguments.config, [*arguments.overrides, "population_baseline=false"])
    rows = []
    for choice in CHOICES:
        encoder = dataclasses.replace(
            config.encoder, **{"recipe": "response", "hidden_layer": 2, "style": True, **choice}
        )
        for seed in range(arguments.seeds):
            its = dataclasses.replace(config, encoder=encoder, seed=config.seed + seed)
            with tempfile.TemporaryDirectory() as directory:
                _, metadata = read_reward(train(its, Path(directory, "run")))
            rows.append({**choice, "seed": its.seed, **metadata.validation})
    print(json.dumps({**provenance(), "config": arguments.config, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
