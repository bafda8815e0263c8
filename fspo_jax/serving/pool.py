"""Where questions come from: prompts with several responses, of which any two are a pair to choose from."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fspo_jax.arguments import check_path, shown
from fspo_jax.asking import MOST_PAIRS
from fspo_jax.config import PersonaSource
from fspo_jax.data.personas.world import make_world
from fspo_jax.data.samples import resolve_sample
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError, FspoError, LimitError, counted, errors_in
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


def entries_in(value: Any, limits: Limits, *, may_lack: bool = False) -> Entries:
    """Reads `[{"prompt": ..., "candidates": [...]}, ...]`, not empty.

    Args:
        value: What was sent.
        limits: How long texts may be, and how many candidates a prompt may have.
        may_lack: Whether an entry may have a prompt only; it has no candidates then.

    Raises:
        DataError: The value has another form. The message names the entry.
        LimitError: A text is too long, or a prompt has too many candidates.
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
            Preference(prompt, "one", "another")  # raises if the prompt is empty
            lacks = may_lack and "candidates" not in entry
            entries.append((prompt, () if lacks else texts_in(entry, "candidates", limits)))
    return entries


def with_written(entries: Entries, generator: Generator, limits: Limits) -> Entries:
    """Lets a model write candidates of the prompts that have none. A prompt for which it fails, or writes no two
    different ones, is left out with a warning: a service need not stand still because a model does.

    Raises:
        LimitError: The written candidates would have more than 10,000 pairs. Nothing is written then.
        FspoError: The generator failed, and no prompt is left.
    """
    lacking = sum(not candidates for _, candidates in entries)
    if lacking * math.comb(WRITTEN, 2) > MOST_PAIRS:
        raise LimitError(
            f"{lacking:,} prompts have no candidates, and {WRITTEN} written for each make more than {MOST_PAIRS:,} "
            "pairs. Give fewer prompts."
        )
    filled: Entries = []
    failures: list[FspoError] = []
    for number, (prompt, candidates) in enumerate(entries, 1):
        if not candidates:
            try:
                texts = dict.fromkeys(generator(prompt, WRITTEN))
            except FspoError as error:
                failures.append(error)
                continue
            candidates = tuple(text for text in texts if _can_be_shown(text, limits))
            if len(candidates) < 2:
                _log.warning(
                    "the model wrote no two different texts for prompt %s, which is left out", number
                )
                continue
        filled.append((prompt, candidates))
    if failures and not filled:
        raise failures[0]
    for reason, count in Counter(map(str, failures)).items():
        _log.warning(
            "%s no candidates and %s left out, because no model could write them: %s",
            f"{counted(count, 'prompt')} {'has' if count == 1 else 'have'}",
            "is" if count == 1 else "are",
            reason,
        )
    return filled


def _can_be_shown(text: str, limits: Limits) -> bool:
    """Whether a text has characters, not too many, and none that UTF-8 cannot encode."""
    return bool(text.strip()) and len(text) <= limits.characters and not re.search("[\ud800-\udfff]", text)


def read_pool(path: str | Path, limits: Limits, generator: Generator | None = None) -> Pool:
    """Reads a file of prompts with candidates: a JSON list, or one JSON object a line.

    Args:
        path: The file.
        limits: As in `entries_in`.
        generator: Writes candidates of prompts that have none, after the whole file was read; None if each must have
            some.

    Raises:
        DataError: It cannot be read, or an entry has another form than `{"prompt": ..., "candidates": [...]}`.
        LimitError: A text is too long, or there are more than 10,000 pairs.
        FspoError: As in `with_written`.
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
        entries = entries_in(value, limits, may_lack=generator is not None)
        return Pool(entries if generator is None else with_written(entries, generator, limits))


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
