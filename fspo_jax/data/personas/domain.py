"""What the persona world asks of a domain: traits, weights, prompts and responses."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DomainSpec:
    """One domain of the persona world; the functions are pure given their random generator.

    A persona is a row of traits (what a description can say); its utility of a response is
    `weights(traits) . attributes(response)`, in nats. Squares and products stand among the attributes
    where a persona has an ideal point.

    Attributes:
        name: Name of the domain.
        attributes: Name of each of the A attributes of a response.
        bank: Name of the bank of topics; domains with one bank share its split.
        topics: Every topic; splits share none.
        sample_traits: `(generator, n) -> float64 [n, T]`, draws from the prior over personas.
        weights: `float64 [n, T] -> float64 [n, A]`, in nats per unit of attribute.
        describe: `(traits [T], random) -> str`, a description of the persona.
        group: `traits [T] -> str`, label for worst-group reports.
        prompt: `(topic, random) -> (prompt, subject)`; the subject is what `responses` needs of it.
        responses: `(topic, subject, count, random, taken) -> [(text, attributes [A])]`; no text of `taken`
            is returned again, and the new texts are added to it.
    """

    name: str
    attributes: tuple[str, ...]
    bank: str
    topics: tuple[str, ...]
    sample_traits: Callable[[np.random.Generator, int], np.ndarray]
    weights: Callable[[np.ndarray], np.ndarray]
    describe: Callable[[np.ndarray, random.Random], str]
    group: Callable[[np.ndarray], str]
    prompt: Callable[[str, random.Random], tuple[str, str]]
    responses: Callable[[str, str, int, random.Random, set[str]], list[tuple[str, tuple[float, ...]]]]


def write_new(write: Callable[[], tuple[str, tuple[float, ...]]], taken: set[str]) -> tuple[str, tuple]:
    """Calls `write` until its text is not in `taken`, adds it there and returns the result.

    Raises:
        RuntimeError: 200 attempts in a row gave known texts (the banks are exhausted).
    """
    for _ in range(200):
        text, attributes = write()
        if text not in taken:
            taken.add(text)
            return text, attributes
    raise RuntimeError("the text banks are exhausted")


def strata(count: int, low: float, high: float, generator: random.Random) -> list[float]:
    """Returns `count` values, one from each equal stratum of [low, high], in random order."""
    values = [low + (high - low) * (i + generator.random()) / count for i in range(count)]
    generator.shuffle(values)
    return values


def cycle_shuffled(values: tuple[float, ...], count: int, generator: random.Random) -> list[float]:
    """Returns `count` values that cycle through a shuffled copy of `values`, in random order."""
    order = list(values)
    generator.shuffle(order)
    drawn = [order[i % len(order)] for i in range(count)]
    generator.shuffle(drawn)
    return drawn


def capitalise(text: str) -> str:
    """Returns `text` with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]
