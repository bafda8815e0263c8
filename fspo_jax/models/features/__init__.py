"""Features of (prompt, response): blocks and their cache."""
