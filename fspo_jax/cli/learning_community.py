"""`fspo community`: moves a reward's prior to the people of one place."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fspo_jax.cli.commands import add_command, add_reward, load_reward
from fspo_jax.cli.compilation import keep_compiled_programs
from fspo_jax.cli.inputs import add_reading, read_people
from fspo_jax.errors import DataError, counted
from fspo_jax.types import Preference


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "community",
        "Move a reward to what the people of one place have in common.",
        "fspo community fspo-mini people.csv --output rewards/ours\n"
        "fspo community rewards/ours more_people.csv --output rewards/ours-2",
        _community,
        details="Use it when you have labelled pairs of people like those the reward will serve: of one company, one "
        "survey, one forum. Twenty people with eight pairs each are enough to gain. Nothing is trained. It writes a "
        "reward that all other commands take; a person's own pairs then start from what the community likes. The "
        "reward holds no text and no pair.",
    )
    add_reward(parser)
    add_reading(parser)
    parser.add_argument(
        "people",
        metavar="PEOPLE",
        help="labelled pairs of the people: rows with user_id, prompt, chosen and rejected (jsonl, csv or parquet), or "
        "sample:NAME",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="where to save the community's reward"
    )


def _community(arguments: argparse.Namespace) -> int:
    from fspo_jax.cli.progress import ProgressBars

    output = Path(arguments.output)
    if output.exists():
        raise DataError(f"{output}: already exists. Choose another directory.")
    keep_compiled_programs()
    reward = load_reward(arguments)
    users = read_people(arguments.people, arguments).users
    total = sum(len(user.preferences) for user in users)
    started = time.perf_counter()
    with ProgressBars() as bars:

        def shown() -> Iterator[tuple[Preference, ...]]:
            done = 0
            for user in users:
                bars.show("learning", done, total)
                yield user.preferences
                done += len(user.preferences)
            bars.show("learning", done, total)

        ours = reward.for_community(shown())
    ours.save(output)
    print(
        f"{output}: learned a community from {counted(total, 'pair')} of {counted(len(users), 'person', 'people')} in "
        f"{time.perf_counter() - started:.1f} seconds."
    )
    return 0
