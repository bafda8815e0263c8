"""Scorers of features: a contract, and one file per scorer."""
