"""Personas over text that exists: trait vectors over labelled statements, and tastes over a multi-candidate corpus."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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

COHORT_PROMPTS, COHORT_MODELS = 8, 8
"""Prompts of a cohort of candidate personas, and models that wrote responses to them."""

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
    for cohort, members in _cohorts(source, fractions, wanted):
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
    for place, row in _rows(source.path, {"trait": str, "statement": str, "holder_says": bool}):
        _check(row["statement"], place, "statement")
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
    shares = _norms(source.norms, known, source.path)
    for trait, share in shares.items():
        if not 0 < share < 1:
            raise DataError(f"{source.norms}: '{trait}' must be a share between 0 and 1, not {share}.")
    return shares


def _norms(path: str, known: Collection[str], corpus: str) -> dict[str, float]:
    """Numbers by the names of things in a corpus."""
    try:
        norms = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    for name, value in norms.items():
        if name not in known:
            quotes = " Names with a point stand in quotes." if isinstance(value, dict) else ""
            raise DataError(f"{path}: '{name}' is not in {corpus}.{did_you_mean(name, known)}{quotes}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"{path}: '{name}' must be a finite number, not {value!r:.60}.")
    return norms


def candidate_users(
    source: CandidateSource,
    split: Split,
    *,
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
) -> list[User]:
    """Personas with a taste in responses, over rows `{prompt, candidates: [{model, text}, ...]}`.

    With `source.models`, a persona draws a normal utility for each of so many models and labels their responses: it
    likes how a model writes. Without, the utility of a response is the persona's weights times the response's
    `TASTES`, standardised over the corpus; a persona cares for two or three of them. Splits share no persona, no
    cohort and no prompt, whichever source of the same corpus they are of.

    Args:
        source: File of the corpus, personas (over all splits), their models and pairs.
        split: `"train"`, `"validation"` or `"test"`.
        validation_fraction: Share of personas and of prompts for validation.
        test_fraction: The same for the test.
        split_seed: Decides who and what goes where.

    Returns:
        Users with labelled pairs and candidate sets with their true utilities.

    Raises:
        DataError: The file cannot be read, a row is not of the format (with its line), or there are too few prompts
            or models.
    """
    corpus = _corpus(source.path)
    fractions = (validation_fraction, test_fraction, split_seed)
    wanted = split_index(split)
    place = assign_splits(len(corpus), *fractions, "candidates prompts")
    here = [prompt for prompt, where in zip(corpus, place, strict=True) if where == wanted]
    models = sorted({model for texts in corpus.values() for model in texts.values() if model})
    if (source.cohort or source.norms) and not source.models:
        raise DataError(
            f"{source.name}: cohorts and norms are about models; say for how many a persona has a liking (`models`)."
        )
    norms: dict[str, float] = {}
    if source.norms:
        norms = _norms(source.norms, models, source.path)
        models = sorted(norms)
    most = min(COHORT_MODELS, len(models)) if source.cohort else len(models)
    if source.models and not 2 <= source.models <= most:
        range_of = (
            f"can have a liking for 2 to {most}, not {source.models}" if most >= 2 else "needs two at least"
        )
        raise DataError(
            f"{source.name}: {source.norms or source.path} names {len(models)} models; a persona {range_of}."
        )
    tastes = {} if source.models else _standard_tastes(corpus)
    users = []
    for cohort, members in _cohorts(source, fractions, wanted):
        prompts, known = here, models
        if source.cohort:
            generator = seeded(source.seed, source.name, "cohort", cohort)
            prompts = [here[p] for p in generator.permutation(len(here))[:COHORT_PROMPTS]]
            known = [models[m] for m in generator.permutation(len(models))[:COHORT_MODELS]]
        for number in members:
            generator = seeded(source.seed, source.name, number)
            if source.models:
                liking = _liking(known, source.models, norms, generator)
                texts = [{text: liking[m] for text, m in corpus[p].items() if m in liking} for p in prompts]
            else:
                weights = _taste(generator)
                texts = [dict(zip(corpus[p], (tastes[p] @ weights).tolist(), strict=True)) for p in prompts]
            enough = [i for i in range(len(prompts)) if len(texts[i]) >= 2]
            preferences, sets = draw_preferences(
                [prompts[i] for i in enough],
                [tuple(texts[i]) for i in enough],
                [np.array(list(texts[i].values())) for i in enough],
                source.pairs,
                source.label_noise,
                generator,
            )
            if not preferences:
                raise DataError(
                    f"{source.path}: no prompt of the {split} split has responses of two of the {source.models} "
                    f"models of persona {number} of '{source.name}'. Take more (`models`), or a corpus where more "
                    "models answer each prompt."
                )
            users.append(User(f"{source.name}-{number:05d}", preferences, source.name, "", _at_most(sets, 8)))
    return users


def _liking(
    models: Sequence[str], count: int, norms: Mapping[str, float], generator: np.random.Generator
) -> dict[str, float]:
    """A persona's utility of `count` of the models, in nats."""
    chosen = [models[m] for m in generator.choice(len(models), count, replace=False)]
    return {model: TASTE_NATS * (norms.get(model, 0.0) + float(generator.normal())) for model in chosen}


def _taste(generator: np.random.Generator) -> np.ndarray:
    """A persona's weights of two or three of the `TASTES`, `float64 [T]`, in nats."""
    weights = np.zeros(len(TASTES))
    cares = generator.choice(len(TASTES), generator.integers(2, 4), replace=False)
    weights[cares] = generator.normal(size=len(cares))
    return weights * (TASTE_NATS / np.linalg.norm(weights))


def _corpus(path: str) -> dict[str, dict[str, str]]:
    """The distinct responses to each prompt and who wrote them, `""` where the file does not say.

    A text that several models wrote is the first one's.
    """
    corpus: dict[str, dict[str, str]] = {}
    for place, row in _rows(path, {"prompt": str, "candidates": list}):
        texts: dict[str, str] = {}
        for i, candidate in enumerate(row["candidates"]):
            fields = candidate if isinstance(candidate, Mapping) else {}
            text = _check(fields.get("text"), place, f"candidates[{i}].text")
            if text.strip():
                model = fields.get("model")
                texts.setdefault(
                    text, "" if model is None else _check(model, place, f"candidates[{i}].model")
                )
        _check(row["prompt"], place, "prompt")
        if row["prompt"].strip() and len(texts) >= 2:
            corpus.setdefault(row["prompt"], texts)
    if not corpus:
        raise DataError(f"{path}: no prompt has two different candidates.")
    return corpus


def _standard_tastes(corpus: Mapping[str, Mapping[str, str]]) -> dict[str, np.ndarray]:
    """`TASTES` of the responses to each prompt, `float64 [responses, T]`, standardised over the corpus."""
    values = {p: np.array([taste_values(text) for text in texts]) for p, texts in corpus.items()}
    stacked = np.concatenate(list(values.values()))
    mean, deviation = stacked.mean(0), np.maximum(stacked.std(0), 1e-6)
    return {p: (rows - mean) / deviation for p, rows in values.items()}


def _cohorts(
    source: TraitSource | CandidateSource, fractions: tuple[float, float, int], wanted: int
) -> Iterator[tuple[int, range]]:
    """The cohorts of a split, each with the numbers of its personas; cohorts of one where none are asked for."""
    size = source.cohort or 1
    if source.personas % size:
        raise DataError(
            f"{source.name}: {source.personas} personas are not cohorts of {size}; take a multiple."
        )
    place = assign_splits(source.personas // size, *fractions, f"{source.name} personas")
    for cohort in np.flatnonzero(place == wanted).tolist():
        yield cohort, range(cohort * size, (cohort + 1) * size)


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
