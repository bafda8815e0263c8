"""Which features of (prompt, response) serve best, judged on meta-validation users.

    python benchmarks/features.py configs/real.toml [--seeds 1] [--set key=value ...]

Meta-trains the config's scorer on other lists of feature blocks than sentence, hidden layer 2 and style, and prints the
best validation log loss (mean over shots and users; the measure that selects checkpoints) and accuracies. Test users
are not loaded. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

from machine import provenance

from fspo_jax.checkpoints import read_reward
from fspo_jax.config import HiddenLayerConfig, SentenceConfig, StyleConfig, load_config
from fspo_jax.training.train import train

SENTENCE, STYLE = SentenceConfig(), StyleConfig()
CHOICES = (
    (SENTENCE, HiddenLayerConfig(layer=2), STYLE),
    (SENTENCE, HiddenLayerConfig(layer=2)),
    (SENTENCE, STYLE),
    (SENTENCE,),
    (SENTENCE, HiddenLayerConfig(layer=4), STYLE),
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
        for seed in range(arguments.seeds):
            its = dataclasses.replace(config, features=choice, seed=config.seed + seed)
            with tempfile.TemporaryDirectory() as directory:
                _, metadata = read_reward(train(its, Path(directory, "run")))
            names = [f"{block.kind} {getattr(block, 'layer', '')}".strip() for block in choice]
            rows.append({"features": names, "seed": its.seed, **metadata.validation})
    print(json.dumps({**provenance(), "config": arguments.config, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
