"""`fspo evaluate`: how good a run is on users it has not seen, as numbers and as a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command, add_reward
from fspo_jax.cli.inputs import add_reading, read_people

if TYPE_CHECKING:
    from fspo_jax.config import DataConfig
    from fspo_jax.evaluation import Predictor
    from fspo_jax.types import User

POPULATION = "population"
"""Where `train` leaves the population baseline, inside a run."""


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
    add_reward(parser)
    add_reading(parser)
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="a config (.toml) or a directory written by 'fspo data make', of which a split is taken, or a file of "
        "preferences, of which all users are taken; by default the config of the run",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="of a config's users (default: test)",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where to write the report (default: REWARD/report; reports/NAME/report for a shipped reward)",
    )
    parser.add_argument(
        "--shots", metavar="K", type=int, nargs="+", default=[0, 1, 2, 4, 8, 16], help="numbers of shots"
    )
    parser.add_argument("--queries", metavar="Q", type=int, default=16, help="queries a user (default: 16)")
    parser.add_argument(
        "--seed", metavar="SEED", type=int, default=0, help="of the choice of context and queries"
    )


def _evaluate(arguments: argparse.Namespace) -> int:
    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.evaluation import evaluate, write_report
    from fspo_jax.evaluation.tables import headline
    from fspo_jax.models.features.featurizer import featurize
    from fspo_jax.reward import PersonalizedReward

    run = Path(arguments.run_path)
    reward = PersonalizedReward.load(run)
    baselines = {}
    if (run / POPULATION).is_dir():
        baselines["population"] = PersonalizedReward.load(run / POPULATION)
    config = _data_config(arguments.data, reward.config.data)
    users = _users(arguments, config)
    with ProgressBars() as bars:
        items = [
            (p.prompt, text) for user in users for p in user.preferences for text in (p.chosen, p.rejected)
        ]
        items += [(s.prompt, text) for user in users for s in user.candidate_sets for text in s.candidates]
        if reward.scoring.featurizer is not None:
            featurize(reward.scoring.featurizer, list(dict.fromkeys(items)), bars.show_encoding)
    print(f"measuring on {len(users):,} users ...", file=sys.stderr)
    report = evaluate(
        reward,
        users,
        baselines=baselines,
        predictors=_predictors(config),
        shots=arguments.shots,
        queries=arguments.queries,
        seed=arguments.seed,
    )
    # A shipped reward has no directory here, and one of its name would hide it.
    home = run if run.is_dir() else Path("reports") / run.name
    paths = write_report(report, arguments.output or home / "report")
    print(headline(report))
    for path in paths.values():
        print(path)
    return 0


def _data_config(data: str | None, own: DataConfig) -> DataConfig | None:
    """The config of the users; None for a file of preferences."""
    if data is None:
        return own
    if not data.endswith(".toml"):
        return None
    from fspo_jax.config import load_config

    return load_config(data).data


def _users(arguments: argparse.Namespace, config: DataConfig | None) -> list[User]:
    """The users to measure on."""
    if config is not None:
        from fspo_jax.data.build import load_split

        return load_split(config, arguments.split)
    return list(read_people(arguments.data, arguments, arguments.split).users)


def _predictors(config: DataConfig | None) -> dict[str, Predictor]:
    """The Bayes-optimal predictor, where all users are personas of one synthetic world."""
    from fspo_jax.config import PersonaSource
    from fspo_jax.data.personas.bayes import BayesOptimal
    from fspo_jax.evaluation import Predictor

    if config is None or len(config.sources) != 1 or not isinstance(config.sources[0], PersonaSource):
        return {}
    optimal = BayesOptimal(config.sources[0], draws=20_000)
    return {"Bayes-optimal": Predictor(optimal.probabilities, optimal.expected_utilities)}
