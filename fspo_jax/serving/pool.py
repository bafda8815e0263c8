"""Where questions come from: prompts with several responses, of which any two are a pair to choose from."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fspo_jax.arguments import check_path, shown
from fspo_jax.asking import MOST_PAIRS
from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.world import make_world
from fspo_jax.data.samples import resolve_sample
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError, LimitError, errors_in
from fspo_jax.generation import Generator
from fspo_jax.serving.bodies import prompt_in, texts_in
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.requests import prompt_json
from fspo_jax.types import Preference, Prompt

Entries = list[tuple[Prompt, tuple[str, ...]]]
"""Prompts, each with its candidates."""

LONGEST_FILE = 32 << 20
BUNDLED_PROMPTS, BUNDLED_RESPONSES = 14, 4
BUNDLED_CHARACTERS = 600

WRITTEN = 4
"""Number of candidates that a model writes for a prompt."""

_log = logging.getLogger(__name__)


class Pool:
    """The pairs that a person can be asked, by an id that depends on their texts only.

    Args:
        entries: Prompts with their candidates. Equal candidates count once.

    Raises:
        DataError: No prompt has two different candidates.
        LimitError: There are more than 10,000 pairs.

    Example:
        >>> len(Pool([("What is entropy?", ("A messy room.", "S = k log W.", "Heat over temperature."))]).pairs)
        3
    """

    def __init__(self, entries: Iterable[tuple[Prompt, Sequence[str]]]):
        self.pairs: dict[str, Preference] = {}
        for prompt, candidates in entries:
            for two in itertools.combinations(dict.fromkeys(candidates), 2):
                pair = Preference(prompt, *two)
                self.pairs[question_id(pair)] = pair
            if len(self.pairs) > MOST_PAIRS:
                raise LimitError(
                    f"the pool has more than {MOST_PAIRS:,} pairs. Give fewer prompts, or fewer candidates for each."
                )
        if not self.pairs:
            raise DataError("the pool has no pair: a prompt needs two different candidates.")


def question_id(pair: Preference) -> str:
    """An id of a pair, the same whichever response is preferred."""
    texts = sorted((pair.chosen, pair.rejected))
    return hashlib.sha256(json.dumps([prompt_json(pair.prompt), *texts]).encode()).hexdigest()[:32]


def entries_in(value: Any, limits: Limits, generator: Generator | None = None) -> Entries:
    """Reads `[{"prompt": ..., "candidates": [...]}, ...]`, not empty.

    Args:
        value: What was sent.
        limits: How long texts may be, and how many candidates a prompt may have.
        generator: Writes candidates of prompts that have none; None if each must have some.

    Raises:
        DataError: The value has another form. The message names the entry.
        LimitError: A text is too long, or a prompt has too many candidates.
        FspoError: The generator failed.
    """
    if not isinstance(value, list) or not value:
        raise DataError(
            f"request: pool must be a list of objects with a prompt and candidates, not {shown(value)}."
        )
    entries: Entries = []
    for i, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise DataError(
                f"request: pool[{i}] must be an object with a prompt and candidates, not {shown(entry)}."
            )
        with errors_in(f"pool[{i}]"):
            prompt = prompt_in(entry, "prompt", limits)
            if generator is not None and "candidates" not in entry:
                _log.info("a model writes candidates of prompt %s of %s", i + 1, len(value))
                entry = {"candidates": [text for text in generator(prompt, WRITTEN) if text.strip()]}
            entries.append((prompt, texts_in(entry, "candidates", limits)))
    return entries


def read_pool(path: str | Path, limits: Limits, generator: Generator | None = None) -> Pool:
    """Reads a file of prompts with candidates: a JSON list, or one JSON object a line.

    Args:
        path, limits, generator: As in `entries_in`.

    Raises:
        DataError: It cannot be read, or an entry has another form than `{"prompt": ..., "candidates": [...]}`.
        LimitError: A text is too long, or there are more than 10,000 pairs.
    """
    path = check_path(path, error=DataError)
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise LimitError(f"{path}: has more than {LONGEST_FILE:,} bytes. Give fewer prompts.")
        text = path.read_text(encoding="utf-8-sig")
        lines = [line for line in text.split("\n") if line.strip()]
        value = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in lines]
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f'{path}: cannot be read as JSON ({error}). Write one {{"prompt": "...", "candidates": ["...", "..."]}} a '
            "line."
        ) from None
    with errors_in(str(path)):
        return Pool(entries_in(value, limits, generator))


@functools.cache
def bundled_pool() -> Pool:
    """The pool of the package: made-up explanations and advice, and answers of language models (from PandaLM)."""
    entries: Entries = []
    world = make_world(
        PersonaSource(seed=1, personas=2, prompts=BUNDLED_PROMPTS, domains=("elix_easy", "roleplay"))
    )
    for found in world.prompt_sets:
        entries.append((found.prompt, found.responses[:BUNDLED_RESPONSES]))
    answers: dict[Prompt, dict[str, None]] = {}
    for user in load_users(resolve_sample("sample:pandalm_consensus")):
        for pair in user.preferences:
            answers.setdefault(pair.prompt, {}).update(dict.fromkeys((pair.chosen, pair.rejected)))
    fitting = [
        (prompt, tuple(texts)[:BUNDLED_RESPONSES])
        for prompt, texts in answers.items()
        if len(texts) >= BUNDLED_RESPONSES
        and all(20 <= len(text) <= BUNDLED_CHARACTERS and "http" not in text for text in texts)
    ]
    return Pool([*entries, *fitting[:BUNDLED_PROMPTS]])
