"""Features of (prompt, response): blocks, style, cache."""
