"""What the world asks of a reward, and what it answers."""
