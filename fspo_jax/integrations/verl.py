"""verl: `compute_score` for `reward.custom_reward_function`, one completion a call.

    reward.custom_reward_function.path=pkg://fspo_jax.integrations.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.users=people.jsonl

The data has `prompt` and `user` in its column `extra_info`. Read from: verl 0.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fspo_jax.errors import DataError
from fspo_jax.integrations.personal import loaded


def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    users: str,
    reward: str = "fspo-mini",
    caution: float = 0.0,
    **_: Any,
) -> dict[str, float]:
    """Returns `{"score": nats}` of a completion for the user of its row; unknown users count as people in general.

    Args:
        data_source, ground_truth: Not read.
        solution_str: The completion.
        extra_info: `prompt`, a string or a conversation, and `user`.
        users, reward: As in `PersonalRewards.load`.
        caution: As in `PersonalRewards`.

    Raises:
        DataError: `extra_info` has no prompt.
    """
    about = extra_info or {}
    if about.get("prompt") is None:
        raise DataError(
            "extra_info has no 'prompt'. Add prompt and user to 'extra_info' when the data is made."
        )
    (score,) = loaded(reward, str(users), float(caution))(
        [about["prompt"]], [solution_str], [about.get("user")]
    )
    assert score is not None  # people in general have a reward
    return {"score": score}
