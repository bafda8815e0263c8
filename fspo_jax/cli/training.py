"""`fspo train`: trains a reward from a config into a run directory."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fspo_jax.cli.commands import add_command, add_overrides
from fspo_jax.errors import TrainingInterrupted, counted, errors_in

if TYPE_CHECKING:
    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.training.fit import Progress


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "train",
        "Meta-train a reward on many users, so that a few pairs of a new person are enough.",
        "fspo train configs/quickstart.toml --output runs/quickstart\n"
        "fspo train configs/quickstart.toml --output runs/slow --set optimizer.learning_rate=1e-4 seed=3\n"
        "fspo train configs/quickstart.toml --output runs/quickstart --resume",
        _train,
        details="Use it to train on your own people, or on synthetic personas. Texts are encoded once and cached. A "
        "stopped run can be resumed and ends with the same result. The progress shows the training loss, and every few "
        "hundred steps the log loss and the accuracy on people it does not train on.",
    )
    parser.add_argument("config", metavar="CONFIG", help="a TOML file such as configs/quickstart.toml")
    parser.add_argument("--output", metavar="RUN", required=True, help="a new or empty run directory")
    add_overrides(parser)
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument(
        "--resume", action="store_true", help="continue the run in RUN; what is finished is not changed"
    )
    earlier.add_argument(
        "--finish", action="store_true", help="end the run in RUN as it is: its best checkpoint is the reward"
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="join the other processes of one run, as started by srun; for language models only, see docs/scaling.md",
    )


def _train(arguments: argparse.Namespace) -> int:
    from fspo_jax.config import load_config

    config = load_config(arguments.config, arguments.overrides)
    if arguments.distributed:
        from fspo_jax.processes import join

        join()

    if not arguments.finish:
        print(
            f"{arguments.config}: {config.steps:,} steps of {config.episodes.batch_size} episodes",
            file=sys.stderr,
        )

    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.training.train import train

    logging.getLogger("fspo_jax").setLevel(logging.INFO)  # says how rows are read, what is trained and why
    try:
        with ProgressBars() as bars, errors_in(arguments.config):
            train(
                config,
                arguments.output,
                resume=arguments.resume,
                finish=arguments.finish,
                on_progress=lambda progress: _show(bars, arguments.output, progress),
                on_encoded=bars.show_encoding,
            )
    except (KeyboardInterrupt, TrainingInterrupted) as error:
        number = getattr(error, "signal", 2)
        print(f"\nfspo: interrupted. To go on, run:\n  {_command_to_go_on(arguments)}", file=sys.stderr)
        if not arguments.finish:
            print(
                "To keep the best so far and train no longer, give --finish instead of --resume.",
                file=sys.stderr,
            )
        return 128 + int(number)
    run = Path(arguments.output)
    print(f"{run}: done. Next:\n  fspo evaluate {shlex.quote(str(run))}")
    return 0


def _show(bars: ProgressBars, output: str, progress: Progress) -> None:
    """Moves the bar, and says each evaluation once: for the fewest and the most pairs of a person."""
    stage = progress.scorer if progress.run == Path(output) else progress.run.name
    bars.show(
        stage,
        progress.step,
        progress.step if progress.ended else progress.steps,
        f"training loss {progress.loss:.3f}",
    )
    if found := progress.validation:
        shots = sorted(int(name.partition("@")[2]) for name in found if name.startswith("log_loss@"))
        parts = (
            f"log loss {found[f'log_loss@{k}']:.3f}, accuracy {found[f'accuracy@{k}']:.0%} with {counted(k, 'pair')}"
            for k in dict.fromkeys((shots[0], shots[-1]))
        )
        bars.say(f"step {progress.step:,}, people not trained on: {'; '.join(parts)}")
    if progress.ended and progress.step < progress.steps:
        bars.say(
            f"stopped early at step {progress.step:,} of {progress.steps:,}; the best was step {progress.best_step:,}"
        )


def _command_to_go_on(arguments: argparse.Namespace) -> str:
    words = ["fspo", "train", arguments.config, "--output", arguments.output]
    if arguments.overrides:
        words += ["--set", *arguments.overrides]
    if arguments.distributed:
        words.append("--distributed")
    return shlex.join([*words, "--finish" if arguments.finish else "--resume"])
