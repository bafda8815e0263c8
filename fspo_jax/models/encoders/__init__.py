"""Text encoders: a contract and one file a family."""
