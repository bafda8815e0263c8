"""`fspo evaluate`: measures a reward on people it has not seen, and writes a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command, add_reward, load_reward
from fspo_jax.cli.inputs import add_reading, directory_to_write, read_people
from fspo_jax.errors import FspoError, counted, errors_in

if TYPE_CHECKING:
    from fspo_jax.config import DataConfig
    from fspo_jax.evaluation.predict import TextMargins
    from fspo_jax.reward import PersonalizedReward
    from fspo_jax.types import User


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "evaluate",
        "Measure a reward on people it has not seen.",
        "fspo evaluate fspo-mini --data people.csv --output reports/people\n"
        "fspo evaluate runs/quickstart\n"
        "fspo evaluate runs/quickstart --data people.csv --output reports/quickstart\n"
        "fspo evaluate runs/quickstart --data configs/real.toml --split validation",
        _evaluate,
        details="Use it after training, or to see whether a reward suits your people. The report has the accuracy by "
        "number of labelled pairs (shots), controls that should fail, baselines and calibration. Writes report.json, "
        "report.md, report.html and k_curve.png.",
    )
    add_reward(parser)
    add_reading(parser)
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="people to measure on: a file of their labelled pairs; or a config (.toml) or a directory written by "
        "'fspo data make', which have splits (default: the config that the reward was trained with)",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="which people of a config or of such a directory (default: test)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where to write the report (default: REWARD/report; reports/NAME/report for a shipped reward)",
    )
    parser.add_argument(
        "--beside",
        metavar="REWARD",
        nargs="+",
        default=[],
        help="other rewards to measure on the same people: runs, exported rewards, or names of shipped ones",
    )
    parser.add_argument(
        "--prompted",
        metavar="MODEL",
        help="also ask this language model, untrained, with the labelled pairs in its prompt: a directory, a hub id "
        "or smollm2-135m. Slow",
    )
    parser.add_argument(
        "--cost",
        action="store_true",
        help="also print what a user costs with each reward: milliseconds, and bytes that are kept",
    )
    parser.add_argument(
        "--people",
        metavar="N",
        type=int,
        help="measure on N of the people only, evenly spaced (default: all)",
    )
    parser.add_argument(
        "--shots",
        metavar="K",
        type=int,
        nargs="+",
        help="labelled pairs of a person that the reward reads (default: those of 0 1 2 4 8 16 that it can read)",
    )
    parser.add_argument(
        "--queries",
        metavar="Q",
        type=int,
        default=16,
        help="largest number of other pairs of a person to predict (default: 16)",
    )
    parser.add_argument(
        "--seed", metavar="SEED", type=int, default=0, help="seed of the choice of these pairs (default: 0)"
    )


def _evaluate(arguments: argparse.Namespace) -> int:
    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.evaluation import evaluate, headline, write_report
    from fspo_jax.evaluation.prompted import GAIN, prompted
    from fspo_jax.evaluation.protocol import MODEL
    from fspo_jax.reward import PersonalizedReward

    run = Path(arguments.run_path)
    # A directory with the name of a shipped reward would replace it in later commands.
    home = run if run.is_dir() else Path("reports") / run.name
    output = directory_to_write(arguments.output or str(home / "report"))
    reward = load_reward(arguments)
    users = _some(_users(arguments), reward, arguments)
    beside = {name: PersonalizedReward.load(place) for name, place in _names(arguments.beside).items()}
    asked = prompted(arguments.prompted) if arguments.prompted else {}
    with ProgressBars() as bars, errors_in(arguments.data or arguments.run_path):
        report = evaluate(
            reward,
            users,
            split=arguments.split,
            baselines=beside,
            predictors=asked,
            shots=arguments.shots,
            queries=arguments.queries,
            seed=arguments.seed,
            on_progress=lambda stage, done, total: bars.show(stage, done, total),
        )
    for warning in report.warnings:
        print(f"fspo: warning: {warning}", file=sys.stderr)
    paths = write_report(report, output)
    print(headline(report))
    if arguments.cost:
        # The gain of a likelihood takes two likelihoods.
        methods = {name: one for name, one in asked.items() if name != GAIN}
        _print_costs({MODEL: reward, **beside}, methods, users, report.control_shots, arguments)
    for path in paths.values():
        print(path)
    return 0


def _print_costs(
    rewards: Mapping[str, PersonalizedReward],
    methods: Mapping[str, TextMargins],
    users: Any,
    shots: int,
    arguments: argparse.Namespace,
) -> None:
    from fspo_jax.evaluation.costs import costs

    options = {"shots": shots, "queries": arguments.queries, "seed": arguments.seed}
    for name, cost in costs(rewards, methods, users, **options).items():
        kept = "" if cost.nbytes is None else f", {cost.nbytes:,.0f} bytes"
        print(f"{name}: {1000 * cost.seconds:,.1f} ms{kept} a user ({counted(shots, 'pair')} read)")


def _names(places: Sequence[str]) -> dict[str, str]:
    """Returns the place of each reward by what tables call it: its last part, or all of it where others share that."""
    from fspo_jax.evaluation.protocol import MODEL

    for i, place in enumerate(places):
        if place in places[:i]:
            raise FspoError(f"--beside names {place} twice. Name each reward once.")
    short = [Path(place).name for place in places]
    return {
        place if name in ("", MODEL) or short.count(name) > 1 else name: place
        for place, name in zip(places, short, strict=True)
    }


def _some(
    users: DataConfig | Sequence[User] | None, reward: PersonalizedReward, arguments: argparse.Namespace
) -> DataConfig | Sequence[User] | None:
    """Returns `--people` of the users, loaded; without it, the users as they are, loaded for `--cost` only."""
    if arguments.people is None and not arguments.cost:
        return users
    import numpy as np

    from fspo_jax.arguments import check_integer
    from fspo_jax.config import DataConfig
    from fspo_jax.data.build import load_split

    if users is None:
        users = reward.config.data
    if isinstance(users, DataConfig):
        users = load_split(users, arguments.split)
    count = len(users) if arguments.people is None else check_integer(arguments.people, "--people", 1)
    return [users[i] for i in np.unique(np.linspace(0, len(users) - 1, min(count, len(users))).astype(int))]


def _users(arguments: argparse.Namespace) -> DataConfig | Sequence[User] | None:
    """Returns the users of a file, the config of the users, or None for the config of the reward."""
    if arguments.data is None:
        return None
    if arguments.data.endswith(".toml"):
        from fspo_jax.config import load_config

        return load_config(arguments.data).data
    return read_people(arguments.data, arguments, arguments.split).users
