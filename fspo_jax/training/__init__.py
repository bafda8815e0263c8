"""Meta-training: one trainer and three tasks."""
