"""Results of a benchmark that was killed at its start."""

from pathlib import Path

import numpy as np
import pytest

from fspo_jax.benchmark import run_benchmark
from fspo_jax.benchmark.folds import Studies
from fspo_jax.benchmark.store import RESULTS
from fspo_jax.config import BenchmarkConfig, DataConfig
from fspo_jax.errors import CheckpointError
from fspo_jax.evaluation.episodes import People
from fspo_jax.types import Preference, User


@pytest.mark.parametrize("text", ["", '{"bench'])
def test_results_without_a_whole_first_line_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text(text)
    people = People.of([User("u", (Preference("?", "x", "y"),))])
    config = BenchmarkConfig("users", 1, 1, DataConfig(()), (), ())
    with pytest.raises(CheckpointError, match="Choose another directory"):
        run_benchmark(config, Studies(people, np.zeros(1, int), {}, config), tmp_path)
