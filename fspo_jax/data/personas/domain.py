"""The contract of a domain of the persona world: traits, weights, prompts and responses."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DomainSpec:
    """One domain of the persona world. Its functions depend on nothing but their arguments.

    A persona is a row of traits, which its description can name. Its utility for a response is
    `weights(traits) . attributes(response)`, in nats. Where a persona has an ideal point, the attributes include
    squares, so that the utility falls with the squared distance to that point.

    Attributes:
        name: Name of the domain.
        attributes: Name of each of the A attributes of a response.
        bank: Name of the bank of topics. Domains with the same bank assign its topics to the same splits.
        topics: All topics. No topic is in two splits.
        sample_traits: `(generator, n) -> float64 [n, T]`, draws from the prior over personas.
        weights: `float64 [n, T] -> float64 [n, A]`, in nats per unit of attribute.
        describe: `(traits [T], random) -> str`, a description of the persona in English.
        group: `traits [T] -> str`, the label that reports group users by.
        prompt: `(topic, random) -> (prompt, subject)`. The subject is passed on to `responses`.
        responses: `(topic, subject, count, random, taken) -> [(text, attributes [A])]`. It returns no text of `taken`
            and adds its own to it.
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
        RuntimeError: 200 attempts in a row gave texts in `taken`: the text banks are exhausted.
    """
    for _ in range(200):
        text, attributes = write()
        if text not in taken:
            taken.add(text)
            return text, attributes
    raise RuntimeError("the text banks are exhausted")


def strata(count: int, low: float, high: float, generator: random.Random) -> list[float]:
    """Returns `count` values in random order, one from each of `count` equal parts of [low, high]."""
    values = [low + (high - low) * (i + generator.random()) / count for i in range(count)]
    generator.shuffle(values)
    return values


def cycle_shuffled(values: tuple[float, ...], count: int, generator: random.Random) -> list[float]:
    """Returns `count` values in random order, in which each of `values` occurs about equally often."""
    order = list(values)
    generator.shuffle(order)
    drawn = [order[i % len(order)] for i in range(count)]
    generator.shuffle(drawn)
    return drawn


def capitalise(text: str) -> str:
    """Returns `text` with its first letter in upper case and the rest as it is."""
    return text[:1].upper() + text[1:]
