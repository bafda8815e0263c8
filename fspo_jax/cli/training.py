"""`fspo train`: a config to a run directory."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command, add_overrides
from fspo_jax.errors import TrainingInterrupted

if TYPE_CHECKING:
    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.training.fit import Progress


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "train",
        "Meta-train a reward on many users, episode by episode. Text is encoded once and cached; stopped runs can be "
        "resumed without any difference to the result.",
        "fspo train configs/quickstart.toml --output runs/quickstart\n"
        "fspo train configs/quickstart.toml --output runs/slow --set optimizer.learning_rate=1e-4 seed=3\n"
        "fspo train configs/quickstart.toml --output runs/quickstart --resume",
        _train,
    )
    parser.add_argument("config", metavar="CONFIG", help="a TOML file such as configs/quickstart.toml")
    parser.add_argument("--output", metavar="RUN", required=True, help="run directory, new or empty")
    add_overrides(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN; a finished run is left"
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="this is one of several processes of one run, as srun starts them; language models only, see "
        "docs/scaling.md",
    )


def _train(arguments: argparse.Namespace) -> int:
    from fspo_jax.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    if arguments.distributed:
        from fspo_jax.processes import join

        join()

    print(
        f"{arguments.config}: {config.steps:,} steps of {config.episodes.batch_size} episodes",
        file=sys.stderr,
    )

    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.training.train import train

    try:
        with ProgressBars() as bars:
            train(
                config,
                arguments.output,
                resume=arguments.resume,
                on_progress=lambda progress: _show(bars, progress),
                on_encoded=bars.show_encoding,
            )
    except (KeyboardInterrupt, TrainingInterrupted) as error:
        number = getattr(error, "signal", 2)
        print(f"\nfspo: interrupted. Go on with:\n  {_resume_command(arguments)}", file=sys.stderr)
        return 128 + int(number)
    run = Path(arguments.output)
    print(f"{run}: done. Next:\n  fspo evaluate {shlex.quote(str(run))}")
    return 0


def _show(bars: ProgressBars, progress: Progress) -> None:
    """Training loss, and accuracy on meta-validation users at the smallest and the largest number of shots."""
    numbers = {"loss": f"{progress.loss:.3f}"}
    shots = sorted(int(name[9:]) for name in progress.validation or () if name.startswith("accuracy@"))
    for count in dict.fromkeys(shots[:1] + shots[-1:]):
        numbers[f"acc@{count}"] = (
            f"{progress.validation[f'accuracy@{count}']:.0%}" if progress.validation else ""
        )
    bars.show(progress.scorer, progress.step, progress.steps, numbers)


def _resume_command(arguments: argparse.Namespace) -> str:
    words = ["fspo", "train", arguments.config, "--output", arguments.output]
    if arguments.overrides:
        words += ["--set", *arguments.overrides]
    if arguments.distributed:
        words.append("--distributed")
    return shlex.join([*words, "--resume"])
