"""The directory of a run: config, checkpoints, log and signals."""
