"""Scoring with a Gaussian process on a language model, whose hidden states are the features."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.checkpoints import reward_fingerprint
from fspo_jax.checkpoints.language import write_language_reward
from fspo_jax.config import TrainConfig
from fspo_jax.models.language.parts import LanguageParts
from fspo_jax.models.scorers.contract import Params
from fspo_jax.reward.engines.features import FeatureScoring
from fspo_jax.text.packing import pack_episodes
from fspo_jax.types import Prompt

ITEMS_PER_BATCH = 128


class LanguageFeatures:
    """Features of (prompt, response): the hidden state at the end of the response, read without a context.

    Attributes:
        blocks: The hidden state, the only block.
        dimension: Width of the decoder.
        fingerprint: Fingerprint of the parts.
    """

    def __init__(self, parts: LanguageParts, params: Params, frozen: Params):
        self._parts, self._params, self._frozen = parts, params, frozen
        self._known: OrderedDict[tuple[Prompt, str], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._end_states = jax.jit(parts.model.end_states)
        self.blocks, self.dimension, self.fingerprint = parts.blocks, parts.dimension, parts.fingerprint

    REMEMBERED = 1 << 16
    """Number of latest items whose features are kept."""

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> np.ndarray:
        """Returns features `float32 [N, D]` of N items; raises `LimitError` if one does not fit into a row."""
        items = list(zip(prompts, responses, strict=True))
        with self._lock:
            found = {item: self._known[item] for item in items if item in self._known}
        missing = [item for item in dict.fromkeys(items) if item not in found]
        for first in range(0, len(missing), ITEMS_PER_BATCH):
            part = missing[first : first + ITEMS_PER_BATCH]
            found |= dict(zip(part, self._compute(part), strict=True))
        with self._lock:
            self._known |= {item: found[item] for item in missing}
            while len(self._known) > self.REMEMBERED:
                self._known.popitem(last=False)
        return np.array([found[item] for item in items], np.float32).reshape(len(items), self.dimension)

    def warm_up(self) -> None:
        """Compiles for one short item: the programs depend on the number and the lengths of the items."""
        self._compute([("?", "")])

    def _compute(self, items: Sequence[tuple[Prompt, str]]) -> np.ndarray:
        """Computes the features. Two responses to one prompt share the tokens of their question."""
        by_prompt: dict[Prompt, list[int]] = {}
        for i, (prompt, _) in enumerate(items):
            by_prompt.setdefault(prompt, []).append(i)
        couples = [
            (prompt, members[j], members[min(j + 1, len(members) - 1)])
            for prompt, members in by_prompt.items()
            for j in range(0, len(members), 2)
        ]
        pairs = [_Pair(prompt, items[a][1], items[b][1]) for prompt, a, b in couples]
        with self._parts.reading():
            packing = pack_episodes(self._parts.template, [((), [pair]) for pair in pairs], self._parts.form)
            rows = self._parts.read_rows(packing.rows)
        states = np.asarray(self._end_states(self._params, self._frozen, rows))
        result = np.empty((len(items), self.dimension), np.float32)
        for (_, a, b), ((row, pair),) in zip(couples, packing.places, strict=True):
            result[a], result[b] = states[row, pair]
        return result


class _Pair(NamedTuple):
    """Two responses without a label. They may be equal or empty, unlike those of a `Preference`."""

    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True, eq=False)
class ProcessScoring(FeatureScoring):
    """Scores with a Gaussian process on the hidden states of a language model.

    Attributes:
        parts: Parts of the language model.
        trained, frozen: Parameters of the language model. `params` are those of the process.
    """

    parts: LanguageParts
    trained: Params
    frozen: Params

    @classmethod
    def from_language(
        cls,
        config: TrainConfig,
        parts: LanguageParts,
        trained: Params,
        frozen: Params,
        stored_fingerprint: str = "",
    ) -> ProcessScoring:
        """Makes it from its parts. `stored_fingerprint` is the fingerprint in their files, if they have files."""
        fingerprint = stored_fingerprint or reward_fingerprint(
            jax.device_get(trained), config, parts.fingerprint
        )
        features = LanguageFeatures(parts, trained, frozen)
        return cls(
            config, parts.model.process, trained["process"], features, fingerprint, parts, trained, frozen
        )

    def save(self, path: str | Path, temperature: float) -> None:
        write_language_reward(
            path, self.parts, self.trained, self.frozen, self.config, temperature=temperature
        )
