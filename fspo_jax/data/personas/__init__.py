"""The synthetic persona world: domains, their text banks, users and the Bayes-optimal predictor."""

from fspo_jax.data.personas.world import Persona, PromptSet, World, WorldSplit, make_world, world_users

__all__ = ["Persona", "PromptSet", "World", "WorldSplit", "make_world", "world_users"]
