"""`fspo community` and `fspo communities`: move a reward's prior to the people of one place, or to groups of them."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from typing import Any

from fspo_jax.cli.commands import add_command, add_reward, load_reward
from fspo_jax.cli.compilation import keep_compiled_programs
from fspo_jax.cli.inputs import add_reading, new_path, read_people
from fspo_jax.errors import DataError, counted
from fspo_jax.types import Preference


def add_parsers(commands: Any) -> None:
    """Adds both commands."""
    parser = add_command(
        commands,
        "community",
        "Start a reward from what the people of one place have in common.",
        "fspo community fspo-mini people.csv --output rewards/ours\n"
        "fspo community rewards/ours more_people.csv --output rewards/ours-2\n"
        'fspo community fspo-mini --description "people who love poems" --output rewards/poets',
        _community,
        details="Use it when you have labelled pairs of people like those the reward will serve: of one company, one "
        "survey, one forum. Twenty people with eight pairs each are enough to gain. Nothing is trained. It writes a "
        "reward that all other commands take; a person's own pairs then start from what the community likes. The "
        "reward holds no text and no pair. A description in words may stand in place of people, or come before them.",
    )
    _add_people(parser, optional=True)
    parser.add_argument(
        "--description",
        metavar="TEXT",
        help="what the people have in common, in words; they are expected to like what is like it",
    )
    parser.add_argument(
        "--epsilon",
        metavar="X",
        type=float,
        help="learn with differential privacy of each person: 1 is strong, 10 is weak; needs --delta and the extra "
        "'privacy'",
    )
    parser.add_argument(
        "--delta", metavar="X", type=float, help="well below one over the number of people, such as 1e-5"
    )
    parser = add_command(
        commands,
        "communities",
        "Find groups of people whose tastes differ, and start a reward from them.",
        "fspo communities fspo-mini people.csv --count 2 --output rewards/groups",
        _communities,
        details="Use it when the people of one place disagree, and nobody knows who agrees with whom. It prints the "
        "size of each group, how well its held-out pairs are predicted, and in what it differs from the others. It "
        "writes a reward that finds out from a person's own pairs to which group the person belongs.",
    )
    _add_people(parser)
    parser.add_argument(
        "--count",
        metavar="N",
        type=int,
        choices=range(2, 17),
        required=True,
        help="number of groups to look for, from 2 to 16",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the starts (default: 0)")


def _add_people(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    add_reward(parser)
    add_reading(parser)
    parser.add_argument(
        "people",
        metavar="PEOPLE",
        nargs="?" if optional else None,
        help="labelled pairs of the people: rows with user_id, prompt, chosen and rejected (jsonl, csv or parquet), or "
        "sample:NAME",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="where to save the reward, a new directory"
    )


def _communities(arguments: argparse.Namespace) -> int:
    output = new_path(arguments.output)
    keep_compiled_programs()
    reward = load_reward(arguments)
    users = read_people(arguments.people, arguments).users
    from fspo_jax.reward.groups import communities

    found = communities(reward, users, arguments.count, seed=arguments.seed)
    found.reward.save(output)
    for number, group in enumerate(found.groups, 1):
        words = ", ".join(f"{name} {value:+.1f}" for name, value in group.differences)
        accuracy = "unknown" if math.isnan(group.accuracy) else f"{group.accuracy:.1%}"
        print(
            f"group {number}: {counted(group.people, 'person', 'people')} ({group.share:.0%}), accuracy {accuracy}"
            f"{f'; differs in {words}' if words else ''}"
        )
    print(
        f"{output}: {counted(len(found.groups), 'group')} of {counted(len(users), 'person', 'people')}. Log loss of "
        f"held-out pairs {found.log_loss:.3f}, as one community {found.log_loss_of_one:.3f} nats; the worst served "
        f"group has accuracy {found.worst.accuracy:.1%}."
    )
    return 0


def _community(arguments: argparse.Namespace) -> int:
    from fspo_jax.cli.progress import ProgressBars

    output = new_path(arguments.output)
    if arguments.people is None and arguments.description is None:
        raise DataError("there are neither people nor a description. Give PEOPLE, or --description.")
    privacy = None
    if (arguments.epsilon is None) != (arguments.delta is None):
        raise DataError("--epsilon and --delta belong together. Give both, or none.")
    keep_compiled_programs()
    if arguments.epsilon is not None:
        from fspo_jax.reward.private import Privacy

        privacy = Privacy(arguments.epsilon, arguments.delta)
    reward = load_reward(arguments)
    users = read_people(arguments.people, arguments).users if arguments.people else []
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

        ours = reward.for_community(shown(), description=arguments.description, privacy=privacy)
    ours.save(output)
    told = [counted(total, "pair") + " of " + counted(len(users), "person", "people")] if users else []
    told += ["a description"] if arguments.description is not None else []
    print(
        f"{output}: learned a community from {' and '.join(told)} in {time.perf_counter() - started:.1f} seconds."
    )
    return 0
