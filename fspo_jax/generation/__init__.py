"""Responses of any generator, ranked by a user's reward, servers that write them, and writers with examples."""

from fspo_jax.generation.best_of_n import Generator, best_of_n
from fspo_jax.generation.endpoint import Endpoint, openai_endpoint
from fspo_jax.generation.examples import WithExamples, with_examples

__all__ = ["Endpoint", "Generator", "WithExamples", "best_of_n", "openai_endpoint", "with_examples"]
