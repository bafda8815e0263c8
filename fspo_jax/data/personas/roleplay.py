"""Domain `roleplay`: a persona's viewpoint is the mean of its demographic group plus traits of its own.

The offsets of the groups were drawn at random, once. They make the groups of this world differ, and say nothing
about any real group of people.
"""

from __future__ import annotations

import random

import numpy as np

from fspo_jax.data.personas.domain import DomainSpec, cycle_shuffled, write_new
from fspo_jax.data.personas.roleplay_issues import ISSUES
from fspo_jax.data.personas.roleplay_phrases import (
    CONCERN_CREEDS,
    CONCERNS,
    FRAMES,
    OUTLOOK_CREEDS,
    OUTLOOKS,
    SETTINGS,
    TONE_CLOSINGS,
    TONE_OPENINGS,
)

AGES = ("18-29", "30-44", "45-59", "60-74", "75 or older")
LOCATIONS = ("by the sea", "in the mountains", "in a big city", "in a suburb", "in a farming village")
GENDERS = ("woman", "man", "nonbinary person")

# Rows: groups; columns: outlook (modern +), concern (community +), tone (warm +). Column means are zero.
_AGE_OFFSETS = np.array(
    [[1.2, -0.5, 0.3], [-0.7, 1.0, 0.8], [0.5, -0.9, -1.1], [-1.2, -0.4, 0.6], [0.2, 0.8, -0.6]]
)
_LOCATION_OFFSETS = np.array(
    [[-0.8, 1.1, -0.2], [0.9, 0.6, -0.9], [-0.3, -1.2, 0.7], [1.0, 0.1, 1.0], [-0.8, -0.6, -0.6]]
)
_GENDER_OFFSETS = np.array([[0.3, -0.3, -0.1], [-0.1, 0.3, 0.3], [-0.2, 0.0, -0.2]])
_TRAIT_NOISE = 0.6
_STANCES = (-1.0, 1.0, -1.0, 1.0, 0.0, -1.0, 1.0)
_DISTINCT = 8  # at least so many different views per prompt
_STRENGTH = np.array([9.0, 8.0, 8.0])  # nats per unit of attribute at unit length of the trait vector

_POLES = (
    ("modern", "traditional", "outlook"),
    ("the community", "oneself", "concern"),
    ("warm", "blunt", "tone"),
)


def _read(bank: str) -> dict[str, dict[str, list[str]]]:
    """Parses the bank into issue -> mark -> fragments."""
    issues = {}
    for block in bank.strip().split("\n\n"):
        name, *lines = block.splitlines()
        issues[name] = {mark: [line[2:] for line in lines if line[0] == mark] for mark in "+-um"}
    return issues


_ISSUES = _read(ISSUES)


def _prompt(topic: str, generator: random.Random) -> tuple[str, str]:
    text = generator.choice(FRAMES).format(x=topic)
    setting = generator.choice(SETTINGS)
    return (f"{text} {setting}" if setting else text), topic


def _opinion(topic: str, view: tuple[float, ...], generator: random.Random) -> str:
    outlook, concern, tone = view
    fragments = _ISSUES[topic]
    choose = generator.choice
    values = {"p": "+", "q": "-", "u": "u", "m": "m"}
    filled = {slot: choose(fragments[mark]) for slot, mark in values.items()}
    pairs = [
        [choose(OUTLOOKS[outlook]).format(**filled), choose(OUTLOOK_CREEDS[outlook])],
        [choose(CONCERNS[concern]).format(**filled), choose(CONCERN_CREEDS[concern])],
    ]
    generator.shuffle(pairs)
    for pair in pairs:
        generator.shuffle(pair)
    body = [*pairs[0], *pairs[1]]
    return " ".join([choose(TONE_OPENINGS[tone]).format(x=topic), *body, choose(TONE_CLOSINGS[tone])])


def _responses(
    topic: str, subject: str, count: int, generator: random.Random, taken: set[str]
) -> list[tuple[str, tuple[float, ...]]]:
    del subject
    views: list[tuple[float, ...]] = []
    while len(set(views)) < min(count, _DISTINCT):
        columns = [cycle_shuffled(_STANCES, count, generator) for _ in range(3)]
        views = list(zip(*columns, strict=True))
    return [write_new(lambda view=view: (_opinion(topic, view, generator), view), taken) for view in views]


def _traits(generator: np.random.Generator, n: int) -> np.ndarray:
    """Draws (age, location and gender index; outlook, concern and tone, each about -2 to 2)."""
    age = generator.integers(len(AGES), size=n)
    location = generator.integers(len(LOCATIONS), size=n)
    gender = generator.integers(len(GENDERS), size=n)
    mean = _AGE_OFFSETS[age] + _LOCATION_OFFSETS[location] + _GENDER_OFFSETS[gender]
    view = mean + generator.normal(0.0, _TRAIT_NOISE, (n, 3))
    return np.concatenate([np.stack([age, location, gender], 1), view], 1)


def _weights(traits: np.ndarray) -> np.ndarray:
    view = traits[:, 3:]
    length = np.linalg.norm(view, axis=1, keepdims=True)
    return _STRENGTH * view / np.maximum(length, 1e-6) ** 0.7


def _description(traits: np.ndarray, generator: random.Random) -> str:
    age, location, gender = (int(value) for value in traits[:3])
    words = []
    for value, (high, low, name) in zip(traits[3:], _POLES, strict=True):
        strength = "strongly" if abs(value) > 1.2 else "clearly" if abs(value) > 0.5 else "slightly"
        words.append(f"{name} {strength} towards {high if value > 0 else low}")
    frames = ("A {g} aged {a} who lives {l}: {w}.", "Lives {l}, a {g} aged {a}: {w}.")
    return generator.choice(frames).format(
        a=AGES[age], l=LOCATIONS[location], g=GENDERS[gender], w=", ".join(words)
    )


def _group(traits: np.ndarray) -> str:
    return f"roleplay/{AGES[int(traits[0])]}"


ROLEPLAY = DomainSpec(
    name="roleplay",
    attributes=("outlook", "concern", "tone"),
    bank="roleplay",
    topics=tuple(_ISSUES),
    sample_traits=_traits,
    weights=_weights,
    describe=_description,
    group=_group,
    prompt=_prompt,
    responses=_responses,
)
