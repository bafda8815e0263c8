"""The meta-trained reward that all users share, and the reward of one user."""

from fspo_jax.reward.personalized import PersonalizedReward
from fspo_jax.reward.user_reward import UserReward

__all__ = ["PersonalizedReward", "UserReward"]
