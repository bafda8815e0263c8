"""Personal rewards inside other frameworks, one file for each. A file imports its framework only when it is used."""
