"""`python -m fspo_jax` is `fspo`."""

import sys

from fspo_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
