"""`fspo adapt` as a file: `python scripts/adapt.py --help`."""

import sys

from fspo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["adapt", *sys.argv[1:]]))
