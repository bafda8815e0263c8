"""Personas that are trait vectors over labelled statements."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from fspo_jax.config import TraitSource
from fspo_jax.data.personas.corpora import checked, cohorts, read_norms, read_rows
from fspo_jax.data.personas.sampling import assign_splits, seeded, split_index
from fspo_jax.data.splits import Split
from fspo_jax.errors import DataError
from fspo_jax.types import Preference, User

TRAIT_PROMPT = "Which of these two statements sounds more like you?"
"""The same for every pair: naming the trait would tell the scorer what the pair is about."""

FIRST_PART = 0.75
"""Chance of a trait to be in the first part."""

COHORT_TRAITS, COHORT_STATEMENTS = 12, 8
"""Traits of a cohort, and statements of each side of them."""


def trait_users(
    source: TraitSource,
    split: Split,
    *,
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
) -> list[User]:
    """Personas that hold or reject each of a few traits, over rows `{trait, statement, holder_says}`.

    A pair has a statement that the persona would make and one, of the same trait, that it would not. Splits
    share no persona, no cohort and no statement of a trait; a text that stands under several traits (a few in a
    thousand do) may be in several splits.

    Args:
        source: File of the statements, personas (over all splits), traits a persona and pairs a persona.
        split: `"train"`, `"validation"` or `"test"`.
        validation_fraction: Share of personas and of each trait's statements for validation.
        test_fraction: The same for the test.
        split_seed: Decides who and what goes where.

    Raises:
        DataError: The file cannot be read, a row is not of the format (with its line), or there are too few traits
            or statements.
    """
    fractions = (validation_fraction, test_fraction, split_seed)
    wanted = split_index(split)
    kept, chances = _statements(source, fractions, wanted)
    if len(kept) < source.traits:
        limits = f" of part '{source.part}'" if source.part != "all" else ""
        limits += f" named in {source.norms}" if source.norms else ""
        raise DataError(
            f"{source.path}: {len(kept)} traits{limits} have at least 6 statements of each side; "
            f"personas of {source.traits} traits were asked for."
        )
    if source.cohort and source.traits > COHORT_TRAITS:
        raise DataError(
            f"{source.name}: a cohort has {COHORT_TRAITS} traits, so its personas cannot have {source.traits}."
        )
    users = []
    for cohort, members in cohorts(source, fractions, wanted):
        pool = _drawn(kept, seeded(source.seed, source.name, "cohort", cohort)) if source.cohort else kept
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
                says = bool(holds[turn]) ^ bool(generator.random() < source.label_noise)
                both = pool[traits[chosen[turn]]]
                texts = [str(generator.choice(both[side])) for side in (says, not says)]
                if texts[0] != texts[1]:
                    pairs.setdefault(Preference(TRAIT_PROMPT, *texts))
            users.append(User(f"{source.name}-{number:05d}", tuple(pairs), source.name))
    return users


Sides = dict[str, tuple[list[str], list[str]]]
"""By trait, what others say and what its holders say."""


def part_of(trait: str) -> str:
    """`first` or `last`, always the same for a trait."""
    return "first" if seeded("part of traits", trait).random() < FIRST_PART else "last"


def _statements(
    source: TraitSource, fractions: tuple[float, float, int], wanted: int
) -> tuple[Sides, Mapping[str, float] | None]:
    """The statements of a split, of the traits that the source takes and that have enough of both sides; its norms."""
    sides: Sides = {}
    for place, row in read_rows(source.path, {"trait": str, "statement": str, "holder_says": bool}):
        checked(row["statement"], place, "statement")
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
            place = assign_splits(len(texts), *fractions, f"{trait} {name} statements")
            here = [text for text, where in zip(texts, place, strict=True) if where == wanted]
            parts.append(here[: source.statements])
        if len(parts) == 2:
            kept[trait] = (parts[0], parts[1])
    return kept, chances


def _drawn(kept: Sides, generator: np.random.Generator) -> Sides:
    """A few traits and statements, for a cohort."""
    traits = generator.permutation(sorted(kept))[:COHORT_TRAITS].tolist()

    def some(texts: list[str]) -> list[str]:
        return generator.permutation(texts)[:COHORT_STATEMENTS].tolist()

    return {trait: (some(kept[trait][0]), some(kept[trait][1])) for trait in traits}


def _shares(source: TraitSource, known: Collection[str]) -> dict[str, float]:
    """Share of people who hold each trait."""
    shares = read_norms(source.norms, known, source.path)
    for trait, share in shares.items():
        if not 0 < share < 1:
            raise DataError(f"{source.norms}: '{trait}' must be a share between 0 and 1, not {share}.")
    return shares
