"""Domains `elix_easy` and `elix_hard`: explanations for readers of different expertise.

A response has four to six sentences. Four of them are written for one of five reader levels: 0 small child, 1 pupil,
2 adult without background, 3 undergraduate, 4 specialist. The level of a response is the mean of the four, minus the
middle level 2, so it runs from -2 to 2. A persona's utility falls with the squared distance to its ideal level. In
`elix_hard` the ideal level is continuous, a persona likes or dislikes comparisons with everyday things, and it
prefers explanations that draw on a field that it knows (engineering or literature).
"""

from __future__ import annotations

import random

import numpy as np

from fspo_jax.data.personas.domain import DomainSpec, capitalise, cycle_shuffled, strata, write_new
from fspo_jax.data.personas.elix_phrases import (
    CLOSINGS,
    COMPARISONS,
    FIELDS,
    FRAMES,
    OPENINGS,
    SETTINGS,
)
from fspo_jax.data.personas.elix_science import SCIENCE
from fspo_jax.data.personas.elix_society import SOCIETY

READERS = ("a small child", "a pupil", "an adult without background", "an undergraduate", "a specialist")
_LEVELS = len(READERS)
_MIDDLE = 2.0
_EASY_PRIOR = (0.26, 0.18, 0.12, 0.18, 0.26)


def _read(bank: str) -> dict[str, tuple[list[list[str]], list[str]]]:
    """Parses a bank into concept -> (sentences of each level, analogies)."""
    concepts = {}
    for block in bank.strip().split("\n\n"):
        name, *lines = block.splitlines()
        sentences = [[line[2:] for line in lines if line[0] == str(level)] for level in range(_LEVELS)]
        concepts[name] = sentences, [line[2:] for line in lines if line[0] == "~"]
    return concepts


_CONCEPTS = _read(SCIENCE) | _read(SOCIETY)
TOPICS = tuple(_CONCEPTS)


def _prompt(topic: str, generator: random.Random) -> tuple[str, str]:
    text = generator.choice(FRAMES).format(x=topic)
    setting = generator.choice(SETTINGS)
    if setting:
        text = f"{setting} {text}" if generator.random() < 0.5 else f"{text} {setting}"
    return text, topic


def _explanation(
    topic: str, level: float, comparison: bool, field: float, generator: random.Random
) -> tuple[str, float]:
    """Writes sentences whose mean level is `level`, rounded to a quarter; returns the text and its centred level."""
    low = min(int(level), _LEVELS - 2)
    above = round(4 * (level - low))
    levels = [low + 1] * above + [low] * (4 - above)
    generator.shuffle(levels)
    sentences, analogies = _CONCEPTS[topic]
    first = list(sentences[levels[1]])
    generator.shuffle(first)
    second = first[1] if levels[2] == levels[1] else generator.choice(sentences[levels[2]])
    parts = [
        generator.choice(OPENINGS[levels[0]]).format(x=topic, X=capitalise(topic)),
        first[0],
        second,
        generator.choice(CLOSINGS[levels[3]]),
    ]
    if field:
        parts.insert(3, generator.choice(FIELDS[field]))
    if comparison:
        opening = generator.choice(COMPARISONS)
        parts.insert(generator.randint(1, 3), opening.format(a=generator.choice(analogies), x=topic))
    return " ".join(parts), float(np.mean(levels)) - _MIDDLE


def _easy_responses(
    topic: str, subject: str, count: int, generator: random.Random, taken: set[str]
) -> list[tuple[str, tuple[float, ...]]]:
    del subject
    between = generator.sample((0.5, 1.5, 2.5, 3.5), 3)
    levels = cycle_shuffled((0.0, 1.0, 2.0, 3.0, 4.0, *between), count, generator)

    def write(level: float) -> tuple[str, tuple[float, ...]]:
        text, reached = _explanation(topic, level, False, 0.0, generator)
        return text, (reached, reached**2)

    return [write_new(lambda level=level: write(level), taken) for level in levels]


def _hard_responses(
    topic: str, subject: str, count: int, generator: random.Random, taken: set[str]
) -> list[tuple[str, tuple[float, ...]]]:
    del subject
    levels = [min(max(level, 0.0), 4.0) for level in strata(count, -0.1, 4.1, generator)]
    comparisons = cycle_shuffled((0.0, 1.0), count, generator)
    fields = cycle_shuffled((-1.0, 1.0), count, generator)

    def write(level: float, comparison: float, field: float) -> tuple[str, tuple[float, ...]]:
        text, reached = _explanation(topic, level, bool(comparison), field, generator)
        return text, (reached, reached**2, comparison, field)

    plan = zip(levels, comparisons, fields, strict=True)
    return [write_new(lambda row=row: write(*row), taken) for row in plan]


def _easy_traits(generator: np.random.Generator, n: int) -> np.ndarray:
    """Draws (ideal level, strictness in nats per squared level)."""
    level = generator.choice(_LEVELS, n, p=_EASY_PRIOR) + generator.normal(0.0, 0.2, n)
    return np.stack([level, generator.uniform(2.0, 3.5, n)], 1)


def _easy_weights(traits: np.ndarray) -> np.ndarray:
    level, strictness = traits.T
    return np.stack([2 * strictness * (level - _MIDDLE), -strictness], 1)


def _easy_description(traits: np.ndarray, generator: random.Random) -> str:
    reader = READERS[int(np.clip(round(float(traits[0])), 0, _LEVELS - 1))]
    frames = ("Wants explanations written for {r}.", "Reads best what is written for {r}.")
    return generator.choice(frames).format(r=reader)


def _hard_traits(generator: np.random.Generator, n: int) -> np.ndarray:
    """Draws (ideal level, strictness, liking of comparisons, familiarity: engineering above 0, literature below)."""
    level = 4.4 * generator.beta(0.7, 0.7, n) - 0.2
    comparison = generator.choice((-1.0, 1.0), n) * generator.uniform(3.0, 8.0, n)
    familiarity = generator.choice((-1.0, 1.0), n) * generator.uniform(1.0, 4.0, n)
    return np.stack([level, generator.uniform(2.0, 3.5, n), comparison, familiarity], 1)


def _hard_weights(traits: np.ndarray) -> np.ndarray:
    level, strictness, comparison, familiarity = traits.T
    return np.stack([2 * strictness * (level - _MIDDLE), -strictness, comparison, familiarity], 1)


def _hard_description(traits: np.ndarray, generator: random.Random) -> str:
    level, _, comparison, familiarity = (float(value) for value in traits)
    reader = READERS[int(np.clip(round(level), 0, _LEVELS - 1))]
    degree = "very familiar" if abs(familiarity) > 2.5 else "somewhat familiar"
    field = f"{degree} with {'engineering' if familiarity > 0 else 'literature'}"
    liking = "likes comparisons" if comparison > 0 else "dislikes comparisons"
    frames = ("Reads like {r} (level {v:.1f} of 4); {f}; {l}.", "At level {v:.1f} of 4, like {r}; {f}; {l}.")
    return generator.choice(frames).format(r=reader, v=min(max(level, 0.0), 4.0), f=field, l=liking)


ELIX_EASY = DomainSpec(
    name="elix_easy",
    attributes=("level", "level_squared"),
    bank="elix",
    topics=TOPICS,
    sample_traits=_easy_traits,
    weights=_easy_weights,
    describe=_easy_description,
    group=lambda traits: "elix_easy",
    prompt=_prompt,
    responses=_easy_responses,
)

ELIX_HARD = DomainSpec(
    name="elix_hard",
    attributes=("level", "level_squared", "comparison", "field"),
    bank="elix",
    topics=TOPICS,
    sample_traits=_hard_traits,
    weights=_hard_weights,
    describe=_hard_description,
    group=lambda traits: "elix_hard",
    prompt=_prompt,
    responses=_hard_responses,
)
