"""`fspo data` as a file: `python scripts/data.py --help`."""

import sys

from fspo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main(["data", *sys.argv[1:]]))
