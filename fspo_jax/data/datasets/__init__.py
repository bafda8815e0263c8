"""The data sets people use, by name: their public schemas, and the rule that turns their rows into preferences."""
