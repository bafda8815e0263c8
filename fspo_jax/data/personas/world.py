"""The synthetic persona world: personas, prompts and responses with known attributes, and the users made of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.domain import DomainSpec
from fspo_jax.data.personas.elix import ELIX_EASY, ELIX_HARD
from fspo_jax.data.personas.reviews import REVIEWS
from fspo_jax.data.personas.roleplay import ROLEPLAY
from fspo_jax.data.personas.sampling import (
    assign_splits,
    check_label_noise,
    draw_preferences,
    seeded,
    split_index,
)
from fspo_jax.data.splits import Split
from fspo_jax.errors import ConfigError, DataError, LimitError
from fspo_jax.types import Prompt, User

DOMAINS: dict[str, DomainSpec] = {spec.name: spec for spec in (REVIEWS, ELIX_EASY, ELIX_HARD, ROLEPLAY)}
MAX_RESPONSES = 32


@dataclass(frozen=True, eq=False)
class Persona:
    """A synthetic person, who has preferences in one domain.

    Attributes:
        persona_id: Unique within the world.
        domain: Name of the domain.
        group: The label that reports group users by.
        description: What the persona likes, in English. No scorer reads it.
        weights: `float64 [A]`, in nats per unit of each attribute of the domain.
    """

    persona_id: str
    domain: str
    group: str
    description: str
    weights: np.ndarray


@dataclass(frozen=True, eq=False)
class PromptSet:
    """A prompt with its responses.

    Attributes:
        prompt: The prompt.
        domain: Its domain.
        topic: What the prompt is about. No topic is in two splits.
        responses: C distinct texts.
        attributes: `float64 [C, A]`, the attributes of each text, in the order of `DOMAINS[domain].attributes`.
    """

    prompt: str
    domain: str
    topic: str
    responses: tuple[str, ...]
    attributes: np.ndarray

    def utilities(self, persona: Persona) -> np.ndarray:
        """Returns `float64 [C]`, the persona's true utility for each response, in nats."""
        return self.attributes @ persona.weights


class WorldSplit(NamedTuple):
    """Personas and prompt sets of one split."""

    personas: tuple[Persona, ...]
    prompt_sets: tuple[PromptSet, ...]


@dataclass(frozen=True, eq=False)
class World:
    """All personas and prompt sets of one `PersonaSource`; made by `make_world`."""

    source: PersonaSource
    personas: tuple[Persona, ...]
    prompt_sets: tuple[PromptSet, ...]

    @cached_property
    def _places(self) -> dict[tuple[str, str], tuple[str, np.ndarray]]:
        return {
            (prompt_set.prompt, response): (prompt_set.domain, attributes)
            for prompt_set in self.prompt_sets
            for response, attributes in zip(prompt_set.responses, prompt_set.attributes, strict=True)
        }

    def attributes(self, prompt: Prompt, response: str) -> tuple[str, np.ndarray]:
        """Returns the domain and the attributes `float64 [A]` of a response of this world.

        Raises:
            DataError: The world has no such prompt with such a response.
        """
        place = self._places.get((prompt, response)) if isinstance(prompt, str) else None
        if place is None:
            raise DataError(
                f"this persona world (seed {self.source.seed}) has no response {response!r:.80} to the prompt "
                f"{prompt!r:.80}. Use the world of the source that the preferences came from."
            )
        return place

    def split(
        self, split: Split, validation_fraction: float, test_fraction: float, split_seed: int
    ) -> WorldSplit:
        """Returns the personas and prompt sets of one split.

        Splits share no persona, no prompt, no topic and no response text. Domains with the same bank of topics assign
        each topic to the same split.

        Raises:
            ConfigError: There is no such split, or a fraction is out of range.
            DataError: There are too few personas or topics for the fractions.
        """
        wanted = split_index(split)
        fractions = (validation_fraction, test_fraction, split_seed)
        personas: list[Persona] = []
        prompt_sets: list[PromptSet] = []
        for domain in self.source.domains:
            here = [persona for persona in self.personas if persona.domain == domain]
            part = assign_splits(len(here), *fractions, f"{domain} personas")
            personas += [persona for persona, place in zip(here, part, strict=True) if place == wanted]
            bank = DOMAINS[domain].bank
            known = {s.topic for s in self.prompt_sets if DOMAINS[s.domain].bank == bank}
            topics = [topic for topic in DOMAINS[domain].topics if topic in known]
            part = assign_splits(len(topics), *fractions, f"{bank} topics")
            chosen = {topic for topic, place in zip(topics, part, strict=True) if place == wanted}
            prompt_sets += [s for s in self.prompt_sets if s.domain == domain and s.topic in chosen]
        return WorldSplit(tuple(personas), tuple(prompt_sets))


def make_world(source: PersonaSource) -> World:
    """Makes the persona world of `source`. Equal sources give equal worlds.

    Args:
        source: Seed and sizes; sizes are per domain.

    Returns:
        The world. No response text occurs twice in it.

    Raises:
        ConfigError: A size or the label noise is out of range, or a domain is named twice.
        LimitError: The text banks do not have that many different prompts or responses.

    Example:
        >>> world = make_world(PersonaSource(seed=0, personas=10, prompts=12, domains=("reviews",)))
        >>> len(world.personas), len(world.prompt_sets), world.prompt_sets[0].attributes.shape
        (10, 12, (8, 2))
    """
    _check(source)
    personas: list[Persona] = []
    prompt_sets: list[PromptSet] = []
    known_prompts: set[str] = set()
    known_texts: set[str] = set()
    for domain in source.domains:
        personas += _make_personas(DOMAINS[domain], source)
        prompt_sets += _make_prompt_sets(DOMAINS[domain], source, known_prompts, known_texts)
    return World(source, tuple(personas), tuple(prompt_sets))


def world_users(
    source: PersonaSource,
    split: Split,
    *,
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
) -> list[User]:
    """Makes the world and returns the users of one split.

    Args:
        source: The world, and the number of pairs per user.
        split: `"train"`, `"validation"` or `"test"`.
        validation_fraction: Share of personas and of topics for validation.
        test_fraction: Share of personas and of topics for the test.
        split_seed: Seed of the assignment to splits.

    Returns:
        One user per persona. Their labelled pairs have different prompts as long as there are enough; if the split has
        fewer distinct pairs than `source.pairs`, users get all of them. Their candidate sets have the true utilities,
        on prompts that occur in none of the user's pairs.

    Raises:
        ConfigError, DataError, LimitError: As in `make_world` and `World.split`.
    """
    world = make_world(source)
    part = world.split(split, validation_fraction, test_fraction, split_seed)
    users = []
    for domain in source.domains:
        sets = [s for s in part.prompt_sets if s.domain == domain]
        prompts, responses = [s.prompt for s in sets], [s.responses for s in sets]
        for persona in part.personas:
            if persona.domain != domain:
                continue
            utilities = np.stack([s.attributes for s in sets]) @ persona.weights
            generator = seeded(source.seed, split_seed, persona.persona_id)
            preferences, candidate_sets = draw_preferences(
                prompts, responses, utilities, source.pairs, source.label_noise, generator
            )
            users.append(
                User(
                    persona.persona_id,
                    preferences,
                    source.name,
                    persona.group,
                    candidate_sets,
                    persona.description,
                )
            )
    return users


def sample_weights(domain: str, generator: np.random.Generator, count: int) -> np.ndarray:
    """Draws the weights of personas, `float64 [count, A]` in nats, from the prior of `domain`."""
    spec = DOMAINS[domain]
    return spec.weights(spec.sample_traits(generator, count))


def _check(source: PersonaSource) -> None:
    check_label_noise(source.label_noise)
    for name, low in (("personas", 1), ("prompts", 1), ("responses", 2), ("pairs", 1)):
        if getattr(source, name) < low:
            raise ConfigError(
                f"'{name}' of a persona source must be at least {low}, not {getattr(source, name)}."
            )
    if source.responses > MAX_RESPONSES:
        raise LimitError(
            f"'responses' is {source.responses}, but the text banks have at most {MAX_RESPONSES} per prompt."
        )
    if source.seed < 0:
        raise ConfigError(f"'seed' of a persona source must not be negative, not {source.seed}.")
    if not source.domains or len(set(source.domains)) < len(source.domains):
        raise ConfigError(f"'domains' must name one domain or more, each once, not {source.domains}.")


def _make_personas(spec: DomainSpec, source: PersonaSource) -> list[Persona]:
    traits = spec.sample_traits(seeded(source.seed, spec.name, "personas"), source.personas)
    generator = random.Random(f"{source.seed}/{spec.name}/descriptions")
    return [
        Persona(f"{spec.name}-{i:05d}", spec.name, spec.group(row), spec.describe(row, generator), weights)
        for i, (row, weights) in enumerate(zip(traits, spec.weights(traits), strict=True))
    ]


def _make_prompt_sets(
    spec: DomainSpec, source: PersonaSource, known_prompts: set[str], known_texts: set[str]
) -> list[PromptSet]:
    """Takes the topics in turn. Their order is the same in all domains with one bank."""
    topics = list(spec.topics)
    random.Random(f"{source.seed}/{spec.bank}/topics").shuffle(topics)
    generator = random.Random(f"{source.seed}/{spec.name}/texts")
    made = []
    for k in range(source.prompts):
        topic = topics[k % len(topics)]
        for _ in range(200):
            prompt, subject = spec.prompt(topic, generator)
            if prompt not in known_prompts:
                break
        else:
            raise LimitError(
                f"'prompts' is {source.prompts}, but the text banks of domain '{spec.name}' have only about {k} "
                "different prompts. Ask for fewer."
            )
        known_prompts.add(prompt)
        try:
            rows = spec.responses(topic, subject, source.responses, generator, known_texts)
        except RuntimeError as error:
            raise LimitError(
                f"domain '{spec.name}': {error} after {k} prompts with {source.responses} responses each. "
                "Ask for fewer prompts, or fewer responses."
            ) from None
        responses, attributes = zip(*rows, strict=True)
        made.append(PromptSet(prompt, spec.name, topic, responses, np.array(attributes, np.float64)))
    return made
