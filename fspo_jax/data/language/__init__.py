"""Episodes as tokens: tokenizer, templates, packing."""
