"""tunix: a file with one function, as its command line wants it. MaxText's reward functions have the same form.

The variables FSPO_USERS (labelled pairs of people) and FSPO_REWARD (default `fspo-mini`) say what is loaded, because
these trainers call a function with columns only. The data has a column `user`. In MaxText, whose batches have questions
and answers only, a `process_data` of one's own must add it. Every public function of this file would become a reward.

Read from: tunix 0.1.7, MaxText of October 2026. Both count a missing reward as 0, so unknown users are scored as people
in general.
"""

from __future__ import annotations

import os
from typing import Any

from fspo_jax.errors import DataError
from fspo_jax.integrations.personal import loaded


def personal_reward(prompts: list[Any], completions: list[Any], *_: Any, **columns: Any) -> list[float]:
    """Returns the reward of each completion for the user of its row, in nats."""
    if not (users := os.environ.get("FSPO_USERS")):
        raise DataError(
            "the variable FSPO_USERS is not set. Set it to a file with the labelled pairs of people."
        )
    rewards = loaded(os.environ.get("FSPO_REWARD", "fspo-mini"), users)
    return [score or 0.0 for score in rewards(prompts, completions, columns.get("user"))]
