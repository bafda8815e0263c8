"""`fspo evaluate`: how good a run is on users it has not seen, as numbers and as a page."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command

if TYPE_CHECKING:
    from fspo_jax.config import DataConfig
    from fspo_jax.data.splits import Split
    from fspo_jax.types import User


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "evaluate",
        "Measure a run on unseen users: accuracy by number of shots, controls, baselines, calibration. Writes "
        "report.json, report.md, report.html and k_curve.png.",
        "fspo evaluate runs/quickstart\n"
        "fspo evaluate runs/quickstart --data people.jsonl --output reports/people\n"
        "fspo evaluate runs/quickstart --data configs/real.toml --split validation",
        _evaluate,
    )
    parser.add_argument("run_path", metavar="RUN", help="a run directory or an exported reward directory")
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="a config (.toml) whose users to take, or a file of preferences of which all users are taken; by default "
        "the config of the run",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="of a config's users (default: test)",
    )
    parser.add_argument("--output", metavar="DIR", help="where to write the report (default: RUN/report)")
    parser.add_argument(
        "--shots", metavar="K", type=int, nargs="+", default=[0, 1, 2, 4, 8, 16], help="numbers of shots"
    )
    parser.add_argument("--queries", metavar="Q", type=int, default=16, help="queries a user (default: 16)")
    parser.add_argument(
        "--seed", metavar="SEED", type=int, default=0, help="of the choice of context and queries"
    )


def _evaluate(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from fspo_jax.evaluation import evaluate, write_report
    from fspo_jax.evaluation.tables import headline
    from fspo_jax.reward import PersonalizedReward

    run = Path(arguments.run_path)
    reward = PersonalizedReward.load(run)
    baseline = run / "population"
    report = evaluate(
        reward,
        _users(arguments.data, arguments.split, reward.config.data),
        baselines={"population": PersonalizedReward.load(baseline)} if baseline.is_dir() else {},
        shots=arguments.shots,
        queries=arguments.queries,
        seed=arguments.seed,
    )
    paths = write_report(report, arguments.output or run / "report")
    print(headline(report))
    print(f"Report: {paths['report.html']}")
    return 0


def _users(data: str | None, split: Split, own: DataConfig) -> list[User]:
    """The users to measure on."""
    from fspo_jax.data.build import load_users
    from fspo_jax.data.sources import load_preferences

    if data is None:
        return load_users(own, split)
    if data.endswith(".toml"):
        from fspo_jax.config import load_config

        return load_users(load_config(data).data, split)
    loaded = load_preferences(data)
    if loaded.rejects:
        print(loaded.summary(), file=sys.stderr)
    return list(loaded.users)
