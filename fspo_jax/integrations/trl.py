"""TRL: a reward function for GRPO, RLOO and online DPO, whose data has a column of users.

    trainer = GRPOTrainer(model, reward_funcs=reward_function(PersonalRewards.load("fspo-mini", "people.jsonl")), ...)

Read from: TRL 1.16.0. It passes every column of the data as a list, and leaves out rewards that are None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fspo_jax.integrations.personal import PersonalRewards


def reward_function(rewards: PersonalRewards, *, column: str = "user") -> Callable[..., list[float | None]]:
    """Makes the function. Without its column, all completions are scored for nobody in particular.

    Args:
        rewards: The rewards of the users.
        column: Name of the column of users.
    """

    def personal_reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        return rewards(prompts, completions, columns.get(column))

    return personal_reward
