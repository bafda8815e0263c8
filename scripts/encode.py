"""`fspo encode` as a file: `python scripts/encode.py --help`."""

import sys

from fspo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["encode", *sys.argv[1:]]))
