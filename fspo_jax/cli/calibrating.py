"""`fspo calibrate`: how sure a reward may be of the people it will serve."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fspo_jax.cli.commands import add_command, add_reward
from fspo_jax.cli.inputs import add_reading, read_people
from fspo_jax.errors import DataError
from fspo_jax.types import Preference

FEW_PEOPLE = 50
"""Below this many a warning says that they may mislead."""


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "calibrate",
        "Fit how sure a reward may be, on labelled pairs of people like those it will serve: temperature scaling. One "
        "temperature divides all rewards, the one under which each pair is most likely given its owner's others "
        "(leave-one-out). Rankings stay the same.",
        "fspo calibrate fspo-mini people.jsonl --output rewards/mine",
        _calibrate,
    )
    add_reward(parser)
    add_reading(parser)
    parser.add_argument(
        "people",
        metavar="PEOPLE",
        help="pairs of some fifty people, rows with user_id, prompt, chosen and rejected (jsonl, csv, parquet)",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="where to save the calibrated reward"
    )
    parser.add_argument(
        "--shots",
        metavar="K",
        type=int,
        default=8,
        help="pairs of each person, evenly from all; about as many as served people have (default: 8)",
    )


def evenly_spaced(preferences: Sequence[Preference], count: int) -> list[Preference]:
    """Evenly from all: neighbours in a file are often about one prompt."""
    count = min(count, len(preferences))
    return [preferences[i * len(preferences) // count] for i in range(count)]


def _calibrate(arguments: argparse.Namespace) -> int:
    from fspo_jax.reward import PersonalizedReward

    output = Path(arguments.output)
    if output.exists():
        raise DataError(f"{output}: exists. Name another directory.")
    if arguments.shots < 2:
        raise DataError(
            f"--shots is {arguments.shots}, but each pair is predicted from its owner's others: 2 or more."
        )
    reward = PersonalizedReward.load(arguments.run_path)
    loaded = read_people(arguments.people, arguments)
    people = [evenly_spaced(user.preferences, arguments.shots) for user in loaded.users]
    if len(people) < FEW_PEOPLE:
        print(
            f"fspo: {len(people)} people are few, the temperature may mislead: give some {FEW_PEOPLE}.",
            file=sys.stderr,
        )
    calibrated = reward.calibrated(people)
    calibrated.save(output)
    print(
        f"{output}: temperature {calibrated.temperature:.2f} (was {reward.temperature:.2f}) from "
        f"{sum(map(len, people)):,} pairs of {len(people):,} people. Below 1 is surer."
    )
    return 0
