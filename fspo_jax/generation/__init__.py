"""Responses of any generator, ranked by a user's reward, and servers that write them."""

from fspo_jax.generation.best_of_n import Generator, best_of_n
from fspo_jax.generation.endpoint import Endpoint, openai_endpoint

__all__ = ["Endpoint", "Generator", "best_of_n", "openai_endpoint"]
