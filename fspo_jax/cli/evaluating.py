"""`fspo evaluate`: measures a reward on people it has not seen, and writes a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command, add_reward, load_reward
from fspo_jax.cli.inputs import add_reading, read_people
from fspo_jax.errors import errors_in

if TYPE_CHECKING:
    from fspo_jax.config import DataConfig
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

    run = Path(arguments.run_path)
    reward = load_reward(arguments)
    users = _users(arguments)
    with ProgressBars() as bars, errors_in(arguments.data or arguments.run_path):
        report = evaluate(
            reward,
            users,
            split=arguments.split,
            shots=arguments.shots,
            queries=arguments.queries,
            seed=arguments.seed,
            on_progress=lambda stage, done, total: bars.show(stage, done, total),
        )
    for warning in report.warnings:
        print(f"fspo: warning: {warning}", file=sys.stderr)
    # A directory with the name of a shipped reward would replace it in later commands.
    home = run if run.is_dir() else Path("reports") / run.name
    paths = write_report(report, arguments.output or home / "report")
    print(headline(report))
    for path in paths.values():
        print(path)
    return 0


def _users(arguments: argparse.Namespace) -> DataConfig | Sequence[User] | None:
    """Returns the users of a file, the config of the users, or None for the config of the reward."""
    if arguments.data is None:
        return None
    if arguments.data.endswith(".toml"):
        from fspo_jax.config import load_config

        return load_config(arguments.data).data
    return read_people(arguments.data, arguments, arguments.split).users
