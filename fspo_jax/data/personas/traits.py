"""Personas over statements that people with and without a trait would make."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from fspo_jax.config import TraitSource
from fspo_jax.data.personas.corpora import checked_text, cohorts, read_norms, read_rows
from fspo_jax.data.personas.sampling import assign_splits, seeded, split_index
from fspo_jax.data.splits import Split
from fspo_jax.errors import DataError, counted
from fspo_jax.types import Preference, User

TRAIT_PROMPT = "Which of these two statements sounds more like you?"
"""The prompt of every pair. A prompt that names the trait would give away what the pair is about."""

FIRST_PART = 0.75
"""Probability that a trait belongs to the first part."""

COHORT_TRAITS, COHORT_STATEMENTS = 12, 8
"""Traits of a cohort, and statements of each side of a trait."""


def trait_users(
    source: TraitSource,
    split: Split,
    *,
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
) -> list[User]:
    """Makes personas that have or lack each of a few traits, from rows `{trait, statement, holder_says}`.

    In a pair, `chosen` is a statement that the persona would make and `rejected` one that it would not, both about the
    same trait. Splits share no persona, no cohort and no statement of a trait. A text that occurs under several traits
    (a few in a thousand do) may be in several splits.

    Args:
        source: The file of statements, the number of personas over all splits, and the traits and pairs per persona.
        split: `"train"`, `"validation"` or `"test"`.
        validation_fraction: Share of personas and of each trait's statements for validation.
        test_fraction: Share of personas and of each trait's statements for the test.
        split_seed: Seed of the assignment to splits.

    Raises:
        DataError: The file cannot be read, a row has the wrong format (the message names its line), or there are too
            few traits or statements.
    """
    fractions = (validation_fraction, test_fraction, split_seed)
    wanted = split_index(split)
    kept, chances = _statements(source, fractions, wanted)
    if len(kept) < source.traits:
        limits = f" of part '{source.part}'" if source.part != "all" else ""
        limits += f" named in {source.norms}" if source.norms else ""
        raise DataError(
            f"{source.path}: has {counted(len(kept), 'trait')}{limits} with at least 6 statements of each side, but "
            f"'traits' is {source.traits}. Lower 'traits', or use a larger file."
        )
    if source.cohort and source.traits > COHORT_TRAITS:
        raise DataError(
            f"{source.name}: 'traits' is {source.traits}, but a cohort has {COHORT_TRAITS} traits. Lower 'traits'."
        )
    users = []
    for cohort, members in cohorts(source, fractions, wanted):
        generator = seeded(source.seed, source.name, "cohort", cohort)
        pool = _cohort_sides(kept, generator) if source.cohort else kept
        traits = sorted(pool)
        for number in members:
            generator = seeded(source.seed, source.name, number)
            chosen = generator.choice(len(traits), source.traits, replace=False)
            odds = [0.5 if chances is None else chances[traits[i]] for i in chosen]
            holds = generator.random(len(chosen)) < odds
            pairs: dict[Preference, None] = {}
            for i in range(4 * source.pairs):
                if len(pairs) == source.pairs:
                    break
                turn = i % len(chosen)
                holder_says = bool(holds[turn]) ^ bool(generator.random() < source.label_noise)
                sides = pool[traits[chosen[turn]]]
                texts = [str(generator.choice(sides[side])) for side in (holder_says, not holder_says)]
                if texts[0] != texts[1]:
                    pairs.setdefault(Preference(TRAIT_PROMPT, *texts))
            users.append(User(f"{source.name}-{number:05d}", tuple(pairs), source.name))
    return users


Sides = dict[str, tuple[list[str], list[str]]]
"""For each trait, the statements of people who lack it and of people who have it."""


def part_of(trait: str) -> str:
    """Returns `first` or `last`: the part that a trait belongs to, always the same for a name."""
    return "first" if seeded("part of traits", trait).random() < FIRST_PART else "last"


def _statements(
    source: TraitSource, fractions: tuple[float, float, int], wanted: int
) -> tuple[Sides, Mapping[str, float] | None]:
    """The statements of a split, of the traits that the source uses and that have enough of them; and the norms."""
    sides: Sides = {}
    for place, row in read_rows(source.path, {"trait": str, "statement": str, "holder_says": bool}):
        checked_text(row["statement"], place, "statement")
        sides.setdefault(row["trait"], ([], []))[row["holder_says"]].append(row["statement"])
    chances = _shares(source, sides) if source.norms else None
    kept: Sides = {}
    for trait, both in sides.items():
        if source.part not in ("all", part_of(trait)):
            continue
        if chances is not None and trait not in chances:
            continue
        parts = []
        for name, texts in zip(("others", "holder"), both, strict=True):
            texts = list(dict.fromkeys(texts))
            if len(texts) < 6:
                break
            splits = assign_splits(len(texts), *fractions, f"{trait} {name} statements")
            own = [text for text, assigned in zip(texts, splits, strict=True) if assigned == wanted]
            parts.append(own[: source.statements])
        if len(parts) == 2:
            kept[trait] = (parts[0], parts[1])
    return kept, chances


def _cohort_sides(kept: Sides, generator: np.random.Generator) -> Sides:
    """Draws the traits and statements of one cohort."""
    traits = generator.permutation(sorted(kept))[:COHORT_TRAITS].tolist()

    def subsample(texts: list[str]) -> list[str]:
        return generator.permutation(texts)[:COHORT_STATEMENTS].tolist()

    return {trait: (subsample(kept[trait][0]), subsample(kept[trait][1])) for trait in traits}


def _shares(source: TraitSource, known: Collection[str]) -> dict[str, float]:
    """Share of people who hold each trait."""
    shares = read_norms(source.norms, known, source.path)
    for trait, share in shares.items():
        if not 0 < share < 1:
            raise DataError(f"{source.norms}: '{trait}' must be a share between 0 and 1, not {share}.")
    return shares
