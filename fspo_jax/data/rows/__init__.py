"""The known shapes of rows, one file per family, and how their fields are read."""
