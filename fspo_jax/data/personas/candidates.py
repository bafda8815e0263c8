"""Personas over corpora with several responses per prompt: they like some models, or some styles of writing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fspo_jax.config import CandidateSource
from fspo_jax.data.personas.corpora import checked_text, cohorts, read_norms, read_rows
from fspo_jax.data.personas.sampling import assign_splits, draw_preferences, seeded, split_index
from fspo_jax.data.splits import Split
from fspo_jax.errors import DataError, counted
from fspo_jax.types import CandidateSet, User

COHORT_PROMPTS, COHORT_MODELS = 8, 8
"""Number of prompts and of models in a cohort of candidate personas."""

TASTE_NATS = 6.0
"""Standard deviation of a candidate persona's utility over typical responses, in nats."""


def candidate_users(
    source: CandidateSource,
    split: Split,
    *,
    validation_fraction: float,
    test_fraction: float,
    split_seed: int,
) -> list[User]:
    """Makes personas that prefer some responses, from rows `{prompt, candidates: [{model, text}, ...]}`.

    With `source.models`, a persona likes how some models write: it draws a normal utility for each of that many
    models, and labels pairs of their responses. Without it, a persona likes a style: the utility of a response is the
    sum of the persona's weights times the response's `TASTES`, standardised over the corpus, and two or three weights
    are not zero. Splits share no persona, no cohort and no prompt. This holds between sources of the same corpus too.

    Args:
        source: The file of the corpus, the number of personas over all splits, and the models and pairs per persona.
        split: `"train"`, `"validation"` or `"test"`.
        validation_fraction: Share of personas and of prompts for validation.
        test_fraction: Share of personas and of prompts for the test.
        split_seed: Seed of the assignment to splits.

    Returns:
        Users with labelled pairs and candidate sets with their true utilities.

    Raises:
        DataError: The file cannot be read, a row has the wrong format (the message names its line), or there are too
            few prompts or models.
    """
    corpus = _corpus(source.path)
    fractions = (validation_fraction, test_fraction, split_seed)
    wanted = split_index(split)
    splits = assign_splits(len(corpus), *fractions, "candidates prompts")
    own_prompts = [prompt for prompt, assigned in zip(corpus, splits, strict=True) if assigned == wanted]
    models = sorted({model for texts in corpus.values() for model in texts.values() if model})
    if (source.cohort or source.norms) and not source.models:
        raise DataError(
            f"{source.name}: 'cohort' and 'norms' need models. Set 'models' to the number of models per persona."
        )
    norms: dict[str, float] = {}
    if source.norms:
        norms = read_norms(source.norms, models, source.path)
        models = sorted(norms)
    most = min(COHORT_MODELS, len(models)) if source.cohort else len(models)
    if source.models and not 2 <= source.models <= most:
        allowed = (
            f"from 2 to {most}, not {source.models}" if most >= 2 else "at least 2, so use another corpus"
        )
        found = counted(len(models), "model")
        raise DataError(
            f"{source.name}: {source.norms or source.path} names {found}; 'models' must be {allowed}."
        )
    tastes = {} if source.models else _standard_tastes(corpus)
    users = []
    for cohort, members in cohorts(source, fractions, wanted):
        prompts, known = own_prompts, models
        if source.cohort:
            generator = seeded(source.seed, source.name, "cohort", cohort)
            prompts = [own_prompts[p] for p in generator.permutation(len(own_prompts))[:COHORT_PROMPTS]]
            known = [models[m] for m in generator.permutation(len(models))[:COHORT_MODELS]]
        for number in members:
            generator = seeded(source.seed, source.name, number)
            if source.models:
                likes = _model_utilities(known, source.models, norms, generator)
                texts = [{text: likes[m] for text, m in corpus[p].items() if m in likes} for p in prompts]
            else:
                weights = _taste_weights(generator)
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
                    f"{source.path}: no prompt of the {split} split has responses from two of the {source.models} "
                    f"models of persona {number} of '{source.name}'. Raise 'models', or use a corpus in which more "
                    "models answer each prompt."
                )
            users.append(
                User(f"{source.name}-{number:05d}", preferences, source.name, "", _first_candidates(sets, 8))
            )
    return users


def _model_utilities(
    models: Sequence[str], count: int, norms: Mapping[str, float], generator: np.random.Generator
) -> dict[str, float]:
    """A persona's utility for each of `count` models drawn at random, in nats."""
    chosen = [models[m] for m in generator.choice(len(models), count, replace=False)]
    return {model: TASTE_NATS * (norms.get(model, 0.0) + float(generator.normal())) for model in chosen}


def _taste_weights(generator: np.random.Generator) -> np.ndarray:
    """A persona's weights of the `TASTES`, `float64 [T]`, in nats: two or three are not zero."""
    weights = np.zeros(len(TASTES))
    cares = generator.choice(len(TASTES), generator.integers(2, 4), replace=False)
    weights[cares] = generator.normal(size=len(cares))
    return weights * (TASTE_NATS / np.linalg.norm(weights))


def _corpus(path: str) -> dict[str, dict[str, str]]:
    """The distinct responses to each prompt, each with the model that wrote it (`""` where the file does not say).

    If several models wrote the same text, the first one counts.
    """
    corpus: dict[str, dict[str, str]] = {}
    for place, row in read_rows(path, {"prompt": str, "candidates": list}):
        texts: dict[str, str] = {}
        for i, candidate in enumerate(row["candidates"]):
            fields = candidate if isinstance(candidate, Mapping) else {}
            text = checked_text(fields.get("text"), place, f"candidates[{i}].text")
            if text.strip():
                model = fields.get("model")
                texts.setdefault(
                    text, "" if model is None else checked_text(model, place, f"candidates[{i}].model")
                )
        checked_text(row["prompt"], place, "prompt")
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


def _first_candidates(sets: tuple[CandidateSet, ...], count: int) -> tuple[CandidateSet, ...]:
    """Candidate sets cut to their first `count` candidates, so that best-of-n has one n."""
    return tuple(CandidateSet(s.prompt, s.candidates[:count], s.utilities[:count]) for s in sets)


TASTES: dict[str, Callable[[str, list[str]], float]] = {
    "length": lambda text, words: math.log1p(len(words)),
    "long_words": lambda text, words: sum(len(word) > 7 for word in words) / len(words),
    "long_sentences": lambda text, words: math.log(
        len(words) / max(len(re.findall(r"[.!?](?:\s|$)", text)), 1)
    ),
    "lists": lambda text, words: math.log1p(
        len(re.findall(r"^[^\S\n]*(?:[-*•]|\d+[.)])\s", text, re.MULTILINE))
    ),
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
"""Properties of a response that a candidate persona can like or dislike."""


def taste_values(text: str) -> list[float]:
    """The values of `TASTES` for one text, in their order."""
    words = re.findall(r"\w+", text.lower()) or [""]
    return [value(text, words) for value in TASTES.values()]
