"""Measuring a reward on users it has not seen, and writing down what was found."""

from fspo_jax.evaluation.protocol import Predictor, evaluate
from fspo_jax.evaluation.report import Report

__all__ = ["Predictor", "Report", "evaluate"]
