import pytest
from tiny_reward import make_reward

from fspo_jax.reward import PersonalizedReward


@pytest.fixture(scope="session")
def reward() -> PersonalizedReward:
    return make_reward()
