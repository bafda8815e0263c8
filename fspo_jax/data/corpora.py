"""Personas over text that exists: trait vectors over labelled statements, and tastes over a multi-candidate corpus."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.config import CandidateSource, TraitSource
from fspo_jax.data.personas.sampling import assign_splits, draw_preferences, seeded, split_index
from fspo_jax.data.readers import read_file
from fspo_jax.data.splits import Split
from fspo_jax.errors import DataError, FspoError, did_you_mean
from fspo_jax.types import CandidateSet, Preference, User, check_text

TRAIT_PROMPT = "Which of these two statements sounds more like you?"
"""The same for every pair: naming the trait would tell the scorer what the pair is about."""

FIRST_PART = 0.75
"""Chance of a trait to be in the first part."""

COHORT_TRAITS, COHORT_STATEMENTS = 12, 8
"""Traits of a cohort, and statements of each side of them."""

TASTE_NATS = 6.0
"""Deviation of a candidate persona's utility over typical responses."""


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
    share no persona, no cohort and no statement.

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
    chances = _norms(source.norms) if source.norms else None
    kept = _statements(source, chances, fractions, wanted)
    if len(kept) < source.traits:
        limits = [f"of part '{source.part}'"] if source.part != "all" else []
        limits += [f"named in {source.norms}"] if source.norms else []
        raise DataError(
            f"{source.path}: {len(kept)} traits {' and '.join([*limits, ''])}have at least 6 statements of each side; "
            f"personas of {source.traits} traits were asked for."
        )
    if source.cohort and source.traits > COHORT_TRAITS:
        raise DataError(
            f"{source.name}: a cohort has {COHORT_TRAITS} traits, so its personas cannot have {source.traits}."
        )
    size = source.cohort or 1
    if source.personas % size:
        raise DataError(
            f"{source.name}: {source.personas} personas are not cohorts of {size}; take a multiple."
        )
    place = assign_splits(source.personas // size, *fractions, f"{source.name} personas")
    users = []
    for cohort in np.flatnonzero(place == wanted).tolist():
        pool = _drawn(kept, seeded(source.seed, source.name, "cohort", cohort)) if source.cohort else kept
        traits = sorted(pool)
        for number in range(cohort * size, (cohort + 1) * size):
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
    source: TraitSource, chances: Mapping[str, float] | None, fractions: tuple[float, float, int], wanted: int
) -> Sides:
    """The statements of a split, of the traits that the source takes and that have enough of both sides."""
    sides: Sides = {}
    for place, row in _rows(source.path, {"trait": str, "statement": str, "holder_says": bool}):
        _check(row["statement"], place, "statement")
        sides.setdefault(row["trait"], ([], []))[row["holder_says"]].append(row["statement"])
    unknown = sorted(set(chances or ()) - set(sides))
    if unknown:
        raise DataError(
            f"{source.norms}: trait '{unknown[0]}' is not in {source.path}.{did_you_mean(unknown[0], sides)}"
        )
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
    return kept


def _drawn(kept: Sides, generator: np.random.Generator) -> Sides:
    """A few traits and statements, for a cohort."""
    traits = generator.permutation(sorted(kept))[:COHORT_TRAITS].tolist()

    def some(texts: list[str]) -> list[str]:
        return generator.permutation(texts)[:COHORT_STATEMENTS].tolist()

    return {trait: (some(kept[trait][0]), some(kept[trait][1])) for trait in traits}


def _norms(path: str) -> dict[str, float]:
    """Share of people who hold each trait."""
    try:
        shares = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    for trait, share in shares.items():
        if not isinstance(share, float) or not 0 < share < 1:
            raise DataError(f"{path}: '{trait}' must be a share between 0 and 1, not {share!r:.60}.")
    return shares


def candidate_users(
    source: CandidateSource,
    split: Split,
    *,
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
) -> list[User]:
    """Personas with a taste in style, over rows `{prompt, candidates: [{model, text}, ...]}`.

    The utility of a response is a persona's weights times the response's `TASTES`, standardised over the corpus; a
    persona cares for two or three of them. Splits share no persona and no prompt.

    Args:
        source: File of the corpus, personas (over all splits) and pairs a persona.
        split: `"train"`, `"validation"` or `"test"`.
        validation_fraction: Share of personas and of prompts for validation.
        test_fraction: The same for the test.
        split_seed: Decides who and what goes where.

    Returns:
        Users with labelled pairs and candidate sets with their true utilities.

    Raises:
        DataError: The file cannot be read, a row is not of the format (with its line), or there are too few prompts.
    """
    corpus: dict[str, tuple[str, ...]] = {}
    for place, row in _rows(source.path, {"prompt": str, "candidates": list}):
        texts = []
        for i, candidate in enumerate(row["candidates"]):
            text = candidate.get("text") if isinstance(candidate, Mapping) else None
            texts.append(_check(text, place, f"candidates[{i}].text"))
        _check(row["prompt"], place, "prompt")
        distinct = tuple(dict.fromkeys(text for text in texts if text.strip()))
        if row["prompt"].strip() and len(distinct) >= 2:
            corpus.setdefault(row["prompt"], distinct)
    if not corpus:
        raise DataError(f"{source.path}: no prompt has two different candidates.")
    values = [np.array([taste_values(text) for text in texts]) for texts in corpus.values()]
    stacked = np.concatenate(values)
    mean, deviation = stacked.mean(0), np.maximum(stacked.std(0), 1e-6)

    fractions = (validation_fraction, test_fraction, split_seed)
    wanted = split_index(split)
    here = np.flatnonzero(assign_splits(len(corpus), *fractions, f"{source.name} prompts") == wanted).tolist()
    prompts, texts = list(corpus), list(corpus.values())
    place = assign_splits(source.personas, *fractions, f"{source.name} personas")
    users = []
    for number in np.flatnonzero(place == wanted).tolist():
        generator = seeded(source.seed, source.name, number)
        weights = np.zeros(len(TASTES))
        cares = generator.choice(len(TASTES), generator.integers(2, 4), replace=False)
        weights[cares] = generator.normal(size=len(cares))
        weights *= TASTE_NATS / np.linalg.norm(weights)
        utilities = [(values[p] - mean) / deviation @ weights for p in here]
        preferences, sets = draw_preferences(
            [prompts[p] for p in here],
            [texts[p] for p in here],
            utilities,
            source.pairs,
            source.label_noise,
            generator,
        )
        users.append(User(f"{source.name}-{number:05d}", preferences, source.name, "", _at_most(sets, 8)))
    return users


def _at_most(sets: tuple[CandidateSet, ...], count: int) -> tuple[CandidateSet, ...]:
    """Candidate sets cut to their first `count` candidates, for best-of-n with one n."""
    return tuple(CandidateSet(s.prompt, s.candidates[:count], s.utilities[:count]) for s in sets)


TASTES: dict[str, Callable[[str, list[str]], float]] = {
    "length": lambda text, words: math.log1p(len(words)),
    "long_words": lambda text, words: sum(len(word) > 7 for word in words) / len(words),
    "long_sentences": lambda text, words: math.log(
        len(words) / max(len(re.findall(r"[.!?](?:\s|$)", text)), 1)
    ),
    "lists": lambda text, words: math.log1p(len(re.findall(r"^\s*(?:[-*•]|\d+[.)])\s", text, re.MULTILINE))),
    "exclamation": lambda text, words: math.log1p(text.count("!")),
    "questions": lambda text, words: math.log1p(text.count("?")),
    "addressing": lambda text, words: sum(word in ("you", "your") for word in words) / len(words),
    "first_person": lambda text, words: (
        sum(word in ("i", "my", "me", "we", "our") for word in words) / len(words)
    ),
    "hedging": lambda text, words: (
        sum(word in ("may", "might", "could", "can") for word in words) / len(words)
    ),
    "figures": lambda text, words: sum(map(str.isdigit, text)) / len(text),
}
"""What a candidate persona can care for."""


def taste_values(text: str) -> list[float]:
    """The values of `TASTES` for one text, in their order."""
    words = re.findall(r"\w+", text.lower()) or [""]
    return [value(text, words) for value in TASTES.values()]


def _rows(path: str, columns: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a file with where they stand; raises `DataError` for the first that is not of the format."""
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file.")
    for row in read_file(Path(path)):
        place = f"{path}:{row.line}"
        if row.problem or row.fields is None:
            raise DataError(f"{place}: {row.problem[1] if row.problem else 'cannot be read'}.")
        for name, kind in columns.items():
            if name not in row.fields:
                raise DataError(f"{place}: column '{name}' is missing; found {', '.join(row.fields)}.")
            if not isinstance(row.fields[name], kind):
                raise DataError(f"{place}: '{name}' must be {kind.__name__}, not {row.fields[name]!r:.60}.")
        yield place, dict(row.fields)


def _check(text: Any, place: str, name: str) -> str:
    try:
        return check_text(text, name)
    except FspoError as error:
        raise DataError(f"{place}: {error}") from None
