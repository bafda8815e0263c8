"""`fspo calibrate`: how sure a reward may be of the people it will serve."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fspo_jax.cli.commands import add_command
from fspo_jax.errors import DataError
from fspo_jax.types import Preference

LIKELY_ENOUGH = 100
"""Pairs below which a warning says that the temperature stays near 1."""


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "calibrate",
        "Fit how sure a reward may be, on labelled pairs of people like those it will serve. One temperature divides "
        "all rewards: the one under which each pair is most likely given its owner's others. Rankings stay the same.",
        "fspo calibrate fspo-mini people.jsonl --output rewards/mine",
        _calibrate,
    )
    parser.add_argument(
        "run_path", metavar="RUN", help="a run directory, an exported reward directory, or fspo-mini"
    )
    parser.add_argument(
        "people",
        metavar="PEOPLE",
        help="labelled pairs of several people, rows with user_id, prompt, chosen and rejected (jsonl, csv, parquet); "
        "of each person as many as the reward takes, evenly from all",
    )
    parser.add_argument(
        "-o", "--output", metavar="REWARD", required=True, help="where to save the calibrated reward"
    )


def _some(preferences: Sequence[Preference], limit: int) -> list[Preference]:
    """At most `limit`, evenly from all: neighbours in a file are often about one prompt."""
    count = min(limit, len(preferences))
    return [preferences[i * len(preferences) // count] for i in range(count)]


def _calibrate(arguments: argparse.Namespace) -> int:
    import numpy as np

    from fspo_jax.data.sources import load_preferences
    from fspo_jax.metrics import log_loss
    from fspo_jax.reward import PersonalizedReward

    output = Path(arguments.output)
    if output.exists():
        raise DataError(f"{output}: exists. Name another directory.")
    reward = PersonalizedReward.load(arguments.run_path)
    loaded = load_preferences(arguments.people)
    if loaded.rejects:
        print(f"{arguments.people}: {loaded.summary()}", file=sys.stderr)
    people = [_some(user.preferences, reward.max_context) for user in loaded.users]
    calibrated = reward.calibrated(people)
    before, after = (np.mean(log_loss(one.left_out_probabilities(people))) for one in (reward, calibrated))
    calibrated.save(output)
    pairs = sum(map(len, people))
    if pairs < LIKELY_ENOUGH:
        print(
            f"fspo: {pairs} pairs say little of how sure to be, so the temperature stays near 1. Some hundred do.",
            file=sys.stderr,
        )
    print(
        f"{output}: temperature {calibrated.temperature:.2f} (was {reward.temperature:.2f}) from {pairs:,} pairs of "
        f"{len(people):,} people; their log loss, each given its owner's others: {before:.3f} -> {after:.3f} nats."
    )
    return 0
