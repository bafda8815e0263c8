"""Measuring a reward on users it has not seen, and writing down what was found."""

from fspo_jax.evaluation.protocol import Predictor, evaluate
from fspo_jax.evaluation.report import Report
from fspo_jax.evaluation.writers import write_report

__all__ = ["Predictor", "Report", "evaluate", "write_report"]
