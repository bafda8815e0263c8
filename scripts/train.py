"""`fspo train` as a file: `python scripts/train.py --help`."""

import sys

from fspo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
