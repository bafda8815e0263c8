"""Whose contexts the mismatched control can replace."""

import numpy as np

from fspo_jax.benchmark.folds import Studies
from fspo_jax.benchmark.methods import with_others
from fspo_jax.config import BenchmarkConfig, DataConfig
from fspo_jax.evaluation.episodes import People
from fspo_jax.types import Preference, User


def test_the_mismatched_control_leaves_out_who_is_alone_in_a_source() -> None:
    sources = ["a", "a", "alone", "b", "b"]
    people = People.of(
        [User(f"u{i}", (Preference("?", "x", "y"),), source) for i, source in enumerate(sources)]
    )
    config = BenchmarkConfig("users", 1, 1, DataConfig(()), (), ())
    studies = Studies(people, np.zeros(5, int), {}, config)
    assert with_others(np.arange(5), studies).tolist() == [0, 1, 3, 4]
    assert with_others(np.array([0, 1, 3]), studies).tolist() == [0, 1]  # of b, only one is trained on
