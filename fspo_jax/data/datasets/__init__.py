"""Published data sets by name: their columns, and the rules that turn their rows into preferences."""
