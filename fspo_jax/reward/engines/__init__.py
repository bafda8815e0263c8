"""How a reward computes: from features, or in the context of a language model."""
