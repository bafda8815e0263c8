"""`fspo benchmark`: compares methods on the same features, users and splits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fspo_jax.cli.commands import add_command, add_overrides
from fspo_jax.cli.inputs import directory_to_write
from fspo_jax.errors import errors_in


def add_parsers(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "benchmark",
        "Compare methods on the same features, users and splits.",
        "fspo benchmark configs/benchmark/users.toml --output reports/users\n"
        "fspo benchmark configs/benchmark/sources.toml --output reports/sources --set seeds=1",
        _benchmark,
        details="Use it to compare a new method with the others. Every method is tuned with the same budget. "
        "Finished parts are kept: run the same command again to continue a benchmark that was stopped. Writes "
        "results.jsonl, report.md and report.html.",
    )
    parser.add_argument("config", metavar="CONFIG", help="a TOML file of configs/benchmark/")
    parser.add_argument(
        "--output",
        metavar="DIR",
        required=True,
        help="a new directory, or that of a stopped benchmark",
    )
    add_overrides(parser)


def _benchmark(arguments: argparse.Namespace) -> int:
    from fspo_jax.config import load_benchmark

    directory_to_write(arguments.output)
    config = load_benchmark(arguments.config, arguments.overrides)

    from fspo_jax.benchmark import run_benchmark, write_benchmark_report
    from fspo_jax.benchmark.folds import load_studies
    from fspo_jax.cli.progress import ProgressBars
    from fspo_jax.training.train import encoder_features

    try:
        with ProgressBars() as bars, errors_in(arguments.config):
            studies = load_studies(config, encoder_features, bars.show_encoding)
            cells = run_benchmark(
                config,
                studies,
                arguments.output,
                on_progress=lambda cell: bars.show("cells", cell.done, cell.cells, f"next {cell.name}"),
            )
    except KeyboardInterrupt:
        print("\nfspo: interrupted. Run the same command again to continue.", file=sys.stderr)
        return 130
    paths = write_benchmark_report(config, cells, studies.people.users, arguments.output)
    lines = paths["report.md"].read_text(encoding="utf-8").splitlines()
    print(next(line for line in lines if line.startswith("Held out")))
    for path in (Path(arguments.output) / "results.jsonl", *paths.values()):
        print(path)
    return 0
