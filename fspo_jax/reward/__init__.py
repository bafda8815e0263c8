"""A meta-trained reward and what it becomes for one user."""

from fspo_jax.reward.personalized import PersonalizedReward, UserReward

__all__ = ["PersonalizedReward", "UserReward"]
