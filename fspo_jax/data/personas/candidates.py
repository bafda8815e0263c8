"""Personas that are utilities over the responses of a multi-candidate corpus: by who wrote, or by style."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fspo_jax.config import CandidateSource
from fspo_jax.data.personas.corpora import checked, cohorts, read_norms, read_rows
from fspo_jax.data.personas.sampling import assign_splits, draw_preferences, seeded, split_index
from fspo_jax.data.splits import Split
from fspo_jax.errors import DataError
from fspo_jax.types import CandidateSet, User

COHORT_PROMPTS, COHORT_MODELS = 8, 8
"""Prompts of a cohort of candidate personas, and models that wrote responses to them."""

TASTE_NATS = 6.0
"""Deviation of a candidate persona's utility over typical responses."""


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
        norms = read_norms(source.norms, models, source.path)
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
    for cohort, members in cohorts(source, fractions, wanted):
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
    for place, row in read_rows(path, {"prompt": str, "candidates": list}):
        texts: dict[str, str] = {}
        for i, candidate in enumerate(row["candidates"]):
            fields = candidate if isinstance(candidate, Mapping) else {}
            text = checked(fields.get("text"), place, f"candidates[{i}].text")
            if text.strip():
                model = fields.get("model")
                texts.setdefault(
                    text, "" if model is None else checked(model, place, f"candidates[{i}].model")
                )
        checked(row["prompt"], place, "prompt")
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
