"""A meta-trained reward and what it becomes for one user."""

from fspo_jax.reward.personalized import PersonalizedReward
from fspo_jax.reward.user_reward import UserReward

__all__ = ["PersonalizedReward", "UserReward"]
