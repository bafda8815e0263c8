"""What a row means: the known shapes by name, one file a family, and the reading of their fields."""
