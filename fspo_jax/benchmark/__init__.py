"""Benchmarks: every method on the same features, users and splits, by source, shots and seed."""

from fspo_jax.benchmark.report import write_benchmark_report
from fspo_jax.benchmark.store import run_benchmark

__all__ = ["run_benchmark", "write_benchmark_report"]
