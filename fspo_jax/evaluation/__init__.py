"""Measures a reward on people it has not seen, and writes reports."""

from fspo_jax.evaluation.bayes_optimal import Predictor
from fspo_jax.evaluation.pages import headline, write_report
from fspo_jax.evaluation.predict import Method
from fspo_jax.evaluation.protocol import evaluate
from fspo_jax.evaluation.report import Report

__all__ = ["Method", "Predictor", "Report", "evaluate", "headline", "write_report"]
