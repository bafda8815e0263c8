"""`fspo evaluate` as a file: `python scripts/evaluate.py --help`."""

import sys

from fspo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
