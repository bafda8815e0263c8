"""Domain `reviews`: personas differ in the sentiment and the length of reviews that they like."""

from __future__ import annotations

import math
import random

import numpy as np

from fspo_jax.data.personas.domain import DomainSpec, capitalise, cycle_shuffled, strata, write_new
from fspo_jax.data.personas.review_text import (
    BRANDS,
    CATEGORIES,
    COMPLAINING,
    COMPLAINING_PAIRS,
    CONCLUSIONS,
    CONTRASTS,
    FRAMES,
    PRAISING,
    PRAISING_PAIRS,
    VERDICTS,
)

_SENTIMENTS = (-1.0, 1.0, -0.5, 0.5, 0.0, 1.0, -1.0)
_SHORTEST, _LONGEST = 9.0, 76.0  # target numbers of words
_MIDDLE = 0.5 * math.log(_SHORTEST * _LONGEST)


def _read(bank: str) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Parses the bank into category -> (items, aspects as [subject, praise, complaint])."""
    categories = {}
    for block in bank.strip().split("\n\n"):
        name, items, *aspects = block.splitlines()
        categories[name] = items[2:].split(", "), [aspect.split(" | ") for aspect in aspects]
    return categories


_CATEGORIES = _read(CATEGORIES)
_POLES = ("enthusiastic", "verbose", "critical", "concise")


def _prompt(topic: str, generator: random.Random) -> tuple[str, str]:
    thing = f"the {generator.choice(BRANDS)} {generator.choice(_CATEGORIES[topic][0])}"
    return generator.choice(FRAMES).format(it=thing), thing


def length_attribute(text: str) -> float:
    """Returns ln(words) of `text`, centred so that the shortest and longest reviews are near -1 and 1."""
    return math.log(len(text.split())) - _MIDDLE


def _review(
    topic: str, thing: str, sentiment: float, words: float, generator: random.Random
) -> tuple[str, tuple[float, ...]]:
    """Writes a verdict and as many judgements of single aspects as fit into about `words` words."""
    parts = [generator.choice(VERDICTS[sentiment]).format(it=thing)]
    aspects = generator.sample(_CATEGORIES[topic][1], 6)
    room = words - len(parts[0].split())
    if words > 30:
        room -= 8  # for the conclusion
    verdict_last = words <= 30 and generator.random() < 0.5
    good = _judgements(sentiment, generator)
    while room > (9 if sentiment == 0.0 else 5) and aspects:
        subject, *predicates = aspects.pop()
        first = next(good)
        values = {"s": subject, "S": capitalise(subject), "p": predicates[0 if first else 1]}
        if aspects and (room > 16 or sentiment == 0.0):
            subject, *predicates = aspects.pop()
            second = next(good)
            values |= {"s2": subject, "p2": predicates[0 if second else 1]}
            same = PRAISING_PAIRS if first else COMPLAINING_PAIRS
            part = generator.choice(same if first == second else CONTRASTS).format(**values)
        else:
            part = generator.choice(PRAISING if first else COMPLAINING).format(**values)
        parts.append(part)
        room -= len(part.split())
    if words > 30:
        parts.append(generator.choice(CONCLUSIONS[sentiment]))
    elif verdict_last:
        parts.append(parts.pop(0))
    parts[0] = capitalise(parts[0])
    text = " ".join(parts)
    return text, (sentiment, length_attribute(text))


def _judgements(sentiment: float, generator: random.Random):
    """Yields True for praise and False for complaint, in the proportion that `sentiment` stands for."""
    if abs(sentiment) == 1.0:
        pattern = [sentiment > 0]
    elif sentiment == 0.0:
        pattern = generator.choice(([True, False], [False, True]))
    else:
        pattern = [sentiment > 0, sentiment > 0, sentiment < 0]
    while True:
        yield from pattern


def _responses(
    topic: str, subject: str, count: int, generator: random.Random, taken: set[str]
) -> list[tuple[str, tuple[float, ...]]]:
    sentiments = cycle_shuffled(_SENTIMENTS, count, generator)
    lengths = strata(count, math.log(_SHORTEST), math.log(_LONGEST), generator)

    def write(sentiment: float, length: float) -> tuple[str, tuple[float, ...]]:
        return _review(topic, subject, sentiment, math.exp(length), generator)

    return [write_new(lambda a=a, b=b: write(a, b), taken) for a, b in zip(sentiments, lengths, strict=True)]


def _traits(generator: np.random.Generator, n: int) -> np.ndarray:
    """Draws (angle, strength in nats). The angle runs from positive over verbose and negative to concise reviews."""
    return np.stack([generator.uniform(0.0, 2 * np.pi, n), generator.uniform(9.0, 14.0, n)], 1)


def _weights(traits: np.ndarray) -> np.ndarray:
    angle, strength = traits.T
    return np.stack([strength * np.cos(angle) + 1.5, strength * np.sin(angle) - 0.5], 1)


def _description(traits: np.ndarray, generator: random.Random) -> str:
    turns = 2 * float(traits[0]) / math.pi
    pole, share = int(turns) % 4, turns % 1.0
    first, second = _POLES[pole], _POLES[(pole + 1) % 4]
    frames = (
        "Prefers reviews that are {v:.0%} {b} and {w:.0%} {a}.",
        "Stands between {a} and {b} reviews, {w:.0%} to {v:.0%}.",
    )
    return generator.choice(frames).format(a=first, b=second, v=share, w=1 - share)


def _group(traits: np.ndarray) -> str:
    """The name of the domain: its personas lie on a circle and form no groups."""
    del traits
    return "reviews"


REVIEWS = DomainSpec(
    name="reviews",
    attributes=("sentiment", "log_length"),
    bank="reviews",
    topics=tuple(_CATEGORIES),
    sample_traits=_traits,
    weights=_weights,
    describe=_description,
    group=_group,
    prompt=_prompt,
    responses=_responses,
)
