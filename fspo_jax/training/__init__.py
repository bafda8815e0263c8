"""Meta-training: one loop, three tasks."""
