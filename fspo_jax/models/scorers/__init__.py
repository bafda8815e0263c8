"""Scorers of features: a contract and one file a scorer."""
