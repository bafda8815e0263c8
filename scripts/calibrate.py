"""`fspo calibrate` as a file: `python scripts/calibrate.py --help`."""

import sys

from fspo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["calibrate", *sys.argv[1:]]))
