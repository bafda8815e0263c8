"""Draws of splits, labelled pairs and candidate sets, shared by all synthetic sources."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from fspo_jax.data.splits import SPLITS
from fspo_jax.errors import ConfigError, DataError, did_you_mean
from fspo_jax.types import CandidateSet, Preference, Prompt

CANDIDATE_SETS = 8
"""Candidate sets per user. At most a quarter of the prompts of a split is used for them."""


def seeded(*parts: int | str) -> np.random.Generator:
    """Returns a random generator that depends on `parts` only; strings are hashed."""
    return np.random.default_rng(
        [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in parts]
    )


def assign_splits(
    count: int, validation_fraction: float, test_fraction: float, split_seed: int, salt: str
) -> np.ndarray:
    """Assigns `count` things to splits at random.

    Args:
        count: Number of things (personas, topics, statements).
        validation_fraction: Share of the validation split, in [0, 1).
        test_fraction: Share of the test split, in [0, 1).
        split_seed: Seed of the assignment.
        salt: What the things are. Different kinds get independent assignments.

    Returns:
        `int64 [count]`, indices into `SPLITS`. A split with a positive fraction gets at least one thing.

    Raises:
        ConfigError: A fraction is outside [0, 1), or both leave nothing for training.
        DataError: There are fewer things than splits that must not be empty.
    """
    shares = (validation_fraction, test_fraction)
    if not all(0 <= share < 1 for share in shares) or sum(shares) >= 1:
        raise ConfigError(
            f"validation_fraction is {validation_fraction} and test_fraction is {test_fraction}. Each must be in "
            "[0, 1), and their sum must be below 1, so that a share is left for training."
        )
    sizes = [max(1, round(share * count)) if share > 0 else 0 for share in shares]
    if count <= sum(sizes):
        raise DataError(
            f"{count} {salt} are too few for a validation split of {validation_fraction:.0%}, a test split of "
            f"{test_fraction:.0%} and a training split. Ask for more, or set a fraction to 0."
        )
    assigned = np.zeros(count, np.int64)
    order = seeded(split_seed, salt).permutation(count)
    assigned[order[: sizes[0]]] = 1
    assigned[order[sizes[0] : sum(sizes)]] = 2
    return assigned


def split_index(split: str) -> int:
    """Returns the position of `split` in `SPLITS`; raises `ConfigError` for another name."""
    if split not in SPLITS:
        raise ConfigError(
            f"split is {split!r}.{did_you_mean(str(split), SPLITS)} Known: {', '.join(SPLITS)}."
        )
    return SPLITS.index(split)


def check_label_noise(label_noise: float) -> float:
    """Returns `label_noise` if it is a probability of at most one half; raises `ConfigError`."""
    if not 0 <= label_noise <= 0.5:
        raise ConfigError(f"label_noise must be between 0 and 0.5, not {label_noise}.")
    return label_noise


@cache
def matchings(count: int) -> np.ndarray:
    """Returns all pairs of `count` things, ordered so that neighbours share nothing (the circle method).

    Returns:
        `int64 [count (count - 1) / 2, 2]`. Within the first `count // 2` rows no thing occurs twice, nor within the
        next `count // 2`, and so on.
    """
    even = count + count % 2
    ring = list(range(even))
    pairs = []
    for _ in range(even - 1):
        pairs += [(ring[i], ring[-1 - i]) for i in range(even // 2) if max(ring[i], ring[-1 - i]) < count]
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return np.array(pairs, np.int64).reshape(-1, 2)


def draw_preferences(
    prompts: Sequence[Prompt],
    responses: Sequence[Sequence[str]],
    utilities: Sequence[np.ndarray] | np.ndarray,
    count: int,
    label_noise: float,
    generator: np.random.Generator,
) -> tuple[tuple[Preference, ...], tuple[CandidateSet, ...]]:
    """Draws labelled pairs and candidate sets of one persona.

    A quarter of the prompts, at most `CANDIDATE_SETS`, is kept for candidate sets. Pairs are taken from the other
    prompts in turn. No pair occurs twice, and the first pairs of a prompt share no response.

    Args:
        prompts: The P prompts of the split.
        responses: Their distinct responses.
        utilities: The persona's utility for each response, in nats, one float array per prompt.
        count: Number of pairs. There are fewer if the prompts have no more.
        label_noise: Probability, from 0 to 0.5, that a label is flipped after it was drawn by the Bradley-Terry model.
        generator: Source of all randomness.

    Returns:
        The preferences and the candidate sets.
    """
    order = generator.permutation(len(prompts))
    held = order[: min(CANDIDATE_SETS, len(prompts) // 4)]
    sets = tuple(
        CandidateSet(prompts[p], tuple(responses[p]), tuple(float(u) for u in utilities[p])) for p in held
    )
    drawn: list[tuple[int, int, int]] = []
    open_prompts = [int(p) for p in order[len(held) :]]
    shuffles = {p: generator.permutation(len(responses[p])) for p in open_prompts[:count]}
    turn = 0
    while open_prompts and len(drawn) < count:
        open_prompts = [p for p in open_prompts if turn < len(matchings(len(responses[p])))]
        for p in open_prompts[: count - len(drawn)]:
            i, j = shuffles[p][matchings(len(responses[p]))[turn]]
            drawn.append((p, int(i), int(j)))
        turn += 1
    margins = np.array([utilities[p][i] - utilities[p][j] for p, i, j in drawn])
    first = generator.random(len(drawn)) < 0.5 * (1.0 + np.tanh(0.5 * margins))
    first ^= generator.random(len(drawn)) < label_noise
    preferences = tuple(
        Preference(
            prompts[p], *((responses[p][i], responses[p][j]) if y else (responses[p][j], responses[p][i]))
        )
        for (p, i, j), y in zip(drawn, first, strict=True)
    )
    return preferences, sets
