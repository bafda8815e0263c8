"""NeMo-RL: an environment that rewards the last message of a conversation for its user.

    register_env("personal", "fspo_jax.integrations.nemo_rl.PersonalEnvironment")

    env: {personal: {reward: fspo-mini, users: people.jsonl}}

The metadata of a row has `user`. Read from: NeMo-RL 0.7.
"""

from __future__ import annotations

from typing import Any

import ray  # pyrefly: ignore
import torch  # pyrefly: ignore
from nemo_rl.environments.interfaces import EnvironmentInterface, EnvironmentReturn  # pyrefly: ignore

from fspo_jax.integrations.personal import PersonalRewards


class Environment(EnvironmentInterface):
    """One step: the reward of the answer. `config` has `users`, and perhaps `reward`, `caution` and `standardize`."""

    def __init__(self, config: dict[str, Any]):
        self._rewards = PersonalRewards.load(
            config.get("reward", "fspo-mini"),
            config["users"],
            caution=config.get("caution", 0.0),
            standardize=config.get("standardize", False),
        )

    def step(
        self, message_log_batch: list[list[dict[str, Any]]], metadata: list[dict[str, Any] | None]
    ) -> EnvironmentReturn:
        """Rewards the last message of each conversation."""
        said = [[{key: one[key] for key in ("role", "content")} for one in log] for log in message_log_batch]
        users = [(row or {}).get("user") for row in metadata]
        rewards = self._rewards([log[:-1] for log in said], [log[-1:] for log in said], users)
        count = len(said)
        return EnvironmentReturn(
            observations=[{"role": "environment", "content": ""}] * count,
            metadata=metadata,
            next_stop_strings=[None] * count,
            rewards=torch.tensor([reward or 0.0 for reward in rewards]),
            terminateds=torch.ones(count, dtype=torch.bool),
            answers=[log[-1]["content"] for log in said],
        )

    def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
        """Returns the batch as it is, and the mean reward."""
        return batch, {
            "personal_reward": float(batch["rewards"].float().mean())
        } if "rewards" in batch else {}


PersonalEnvironment = ray.remote(Environment)
"""The environment as an actor, which is what NeMo-RL registers."""
