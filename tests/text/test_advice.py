"""What transformers says at its import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
from fspo_jax.text.advice import without_advice
with without_advice():
    import transformers
"""


@pytest.mark.parametrize("given", [None, "", "0", "1"])
def test_an_import_of_transformers_is_silent_and_leaves_the_environment(given: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFORMERS")}
    environment |= {} if given is None else {"TRANSFORMERS_NO_ADVISORY_WARNINGS": given}
    script = SCRIPT + "import os; print(os.environ.get('TRANSFORMERS_NO_ADVISORY_WARNINGS'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert (done.stdout.strip(), done.stderr, done.returncode) == (str(given), "", 0)
