"""`fspo calibrate`: calibrates a reward's confidence on people like those it will serve."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from fspo_jax.cli.commands import add_command, add_reward, load_reward
from fspo_jax.cli.inputs import add_reading, new_path, read_people
from fspo_jax.errors import DataError, counted
from fspo_jax.types import Preference

FEW_PEOPLE = 50
"""With fewer people a warning says that the temperature may be unreliable."""


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "calibrate",
        "Calibrate a reward's confidence on people like those it will serve.",
        "fspo calibrate fspo-mini people.csv --output rewards/calibrated\n"
        "fspo calibrate runs/quickstart people.csv --output rewards/mine --shots 4",
        _calibrate,
        details="Use it when you rely on probabilities, and have labelled pairs of about 50 people. It "
        "writes a reward that divides all scores by one temperature, so that a probability of 80 % comes true in 80 % "
        "of the cases. Rankings do not change. The temperature is chosen by leave-one-out likelihood: each pair is "
        "predicted from the other pairs of the same person.",
    )
    add_reward(parser)
    add_reading(parser)
    parser.add_argument(
        "people",
        metavar="PEOPLE",
        help="labelled pairs of about 50 people whom the reward was not trained on: rows with user_id, prompt, chosen "
        "and rejected (jsonl, csv or parquet), or sample:NAME",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="where to save the calibrated reward"
    )
    parser.add_argument(
        "--shots",
        metavar="K",
        type=int,
        default=8,
        help="number of pairs to use of each person; choose as many as the people it will serve have (default: 8)",
    )


def evenly_spaced(preferences: Sequence[Preference], count: int) -> list[Preference]:
    """Takes `count` evenly spaced pairs, because neighbours in a file often have the same prompt."""
    count = min(count, len(preferences))
    return [preferences[i * len(preferences) // count] for i in range(count)]


def _calibrate(arguments: argparse.Namespace) -> int:
    from fspo_jax.evaluation.overlap import community_overlap, training_overlap

    output = new_path(arguments.output)
    if arguments.shots < 2:
        raise DataError(
            f"--shots is {arguments.shots}; it must be at least 2, because each pair is predicted from the other pairs "
            "of the same person."
        )
    reward = load_reward(arguments)
    users = read_people(arguments.people, arguments).users
    for warning in (*training_overlap(reward.config.data, users), *community_overlap(reward, users)):
        print(f"fspo: warning: {warning}", file=sys.stderr)
    if len(users) < FEW_PEOPLE:
        print(
            f"fspo: warning: only {counted(len(users), 'person', 'people')}: the temperature may be unreliable; "
            f"provide about {FEW_PEOPLE}.",
            file=sys.stderr,
        )
    people = [evenly_spaced(user.preferences, arguments.shots) for user in users]
    if max(map(len, people)) > reward.max_context:
        raise DataError(
            f"--shots is {arguments.shots}, but this reward is calibrated with at most {reward.max_context} pairs of "
            f"each person. Pass --shots {reward.max_context} or fewer."
        )
    calibrated = reward.calibrated(people)
    calibrated.save(output)
    print(
        f"{output}: temperature {calibrated.temperature:.2f} (was {reward.temperature:.2f}) from "
        f"{counted(sum(map(len, people)), 'pair')} of {counted(len(people), 'person', 'people')}. Below 1, the reward "
        "is more confident than it was trained to be; above 1, less."
    )
    return 0
