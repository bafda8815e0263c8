"""`fspo user`: shows the pairs that a saved user keeps, and forgets some."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fspo_jax.cli.adapting import positive, sole_writer
from fspo_jax.cli.commands import add_command, add_reward, load_reward
from fspo_jax.cli.compilation import keep_compiled_programs
from fspo_jax.errors import DataError, counted
from fspo_jax.shipped import find_reward


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    user = add_command(
        commands,
        "user",
        "Show the pairs that a saved user keeps, or forget some of them.",
        "fspo user fspo-mini users/ana\nfspo user fspo-mini users/ana --forget 2 5",
        _user,
        details="Use it for a user saved with 'fspo adapt --keep-texts', or for a language model that reads pairs; of "
        "others it says how many pairs they have. "
        "Writes one pair a line to standard output, as JSON, the oldest first. With --forget, the saved user is "
        "replaced by one as if these pairs had never been given, and nothing is shown.",
    )
    add_reward(user)
    user.add_argument("user", metavar="USER", help="a user saved by 'fspo adapt'")
    user.add_argument(
        "--forget",
        metavar="N",
        nargs="+",
        type=positive,
        help="numbers of the pairs to forget; 1 is the first line",
    )


def _user(arguments: argparse.Namespace) -> int:
    find_reward(arguments.run_path)
    path = Path(arguments.user)
    if not path.exists():
        raise DataError(f"{path}: no such user. Save one with 'fspo adapt --keep-texts'.")
    keep_compiled_programs()
    from fspo_jax.reward import UserReward
    from fspo_jax.serving.requests import AdaptRequest

    reward = load_reward(arguments)
    with sole_writer(path):
        user = UserReward.load(path, reward)
        if arguments.forget is None and reward.scoring.preferences(user.context) is None:
            print(
                f"{path}: {counted(user.shots, 'pair')}, whose texts are not kept. To see and to forget pairs, adapt "
                "again with --keep-texts.",
                file=sys.stderr,
            )
            return 0
        pairs = user.preferences
        if arguments.forget is None:
            for row in AdaptRequest(pairs).to_json()["pairs"]:
                print(json.dumps(row, ensure_ascii=False))
            return 0
        for number in arguments.forget:
            if number > len(pairs):
                raise DataError(
                    f"{path}: there is no pair {number}; the user has {counted(len(pairs), 'pair')}."
                )
        left = user.without([pairs[number - 1] for number in arguments.forget])
        left.save(path, overwrite=True)
    print(f"{path}: forgot {counted(user.shots - left.shots, 'pair')}; {counted(left.shots, 'pair')} left.")
    return 0
