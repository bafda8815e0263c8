"""The benchmark of language models runs, in small; its numbers mean nothing here."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def lm():
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("lm", FOLDER / "lm.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


@pytest.fixture(scope="module")
def shape(lm):
    shapes = sys.modules["lm_shapes"]
    return shapes.Shape(shapes.llama(512, 16, 24, 1, 2, 1, 8), 3, 5, "float32")


@pytest.mark.slow
def test_every_part_of_the_benchmark_runs_in_small(lm, shape):
    found = lm.training(shape, 1, 1, 2)
    assert found["wall_ratio"] > 0 and found["counted_flops_ratio"] > 1
    assert lm.rerank_of(shape, 1, candidates=4, prompts_a_batch=2)["ratio"] > 0
    assert lm.memory_of(shape)["temporary_bytes"] > 0
    assert set(lm.utilisation(shape, 1, 1)) >= {"utilisation", "tokens_per_second"}


def test_matrix_flops_counts_every_turn_of_a_loop(lm):
    import jax
    import jax.numpy as jnp

    def looped(a, b):
        return jax.lax.scan(lambda x, _: (x @ b, None), a, None, length=5)[0]

    assert lm.matrix_flops(looped, jnp.ones((4, 8)), jnp.ones((8, 8))) == 5 * 2 * 4 * 8 * 8
