"""How rewards are computed: from features, or by a language model that reads the context."""
