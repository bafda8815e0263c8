"""Text encoders: a contract, and one file per family."""
