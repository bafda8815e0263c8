"""An untrained language model that is shown a person's labelled pairs in its prompt: what training must beat."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fspo_jax.checkpoints.language import read_base
from fspo_jax.config import DataConfig, EpisodeConfig, LanguageModelConfig, OptimizerConfig, TrainConfig
from fspo_jax.evaluation.predict import TextMargins
from fspo_jax.models.language.base import load_base
from fspo_jax.models.language.parts import make_parts
from fspo_jax.reward import PersonalizedReward
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import Preference

ROW, CONTEXT = 2048, 1536
"""Number of tokens of a row, and of the pairs in it."""

MOST_PAIRS = 1024
"""Number of pairs that may be given. Those that do not fit into a prompt are left out, the oldest first."""

LIKELIHOOD, GAIN, ASKED = "prompted: likelihood", "prompted: gain of likelihood", "prompted: A or B"

REMEMBERED = 64
"""Number of latest batches of users whose likelihoods are kept: two of the methods need the same ones."""

Texts = tuple[tuple[Preference, ...], ...]

QUESTION = "Which answer would this person prefer, A or B?\n\n{prompt}\n\nA: {a}\n\nB: {b}"


def prompted(
    model: str, *, cache: str | Path | None = None, allow_download: bool = False
) -> dict[str, TextMargins]:
    """Returns three ways to ask a language model, for `evaluate(..., predictors=...)`.

    The pairs stand in the prompt as in FSPO's reference code. `likelihood` compares the log-probabilities of the two
    responses, summed over tokens; `gain of likelihood` compares how much the pairs raised them, which is fair to long
    responses; `A or B` asks in words, in both orders, and takes the mean.

    Args:
        model: What `scorer.base` takes, such as `smollm2-135m`.
        cache: Directory in which models are kept; None for the user's.
        allow_download: Whether the hub may be asked.

    Raises:
        CheckpointError: The model is missing or cannot be read.

    Source: Singh et al. (2025), FSPO, arXiv 2502.19312, for the prompt.
    """
    scorer = LanguageModelConfig(
        "language_model",
        "implicit",
        base=model,
        template="fspo_v1",
        row_length=ROW,
        context_length=CONTEXT,
        beta=1.0,
    )
    episodes = EpisodeConfig(max_context=MOST_PAIRS)
    config = TrainConfig(0, 1, "sft", DataConfig(()), scorer, OptimizerConfig(1e-6), episodes=episodes)
    base = read_base(model, cache=cache, allow_download=allow_download)
    parts = make_parts(config, base.architecture, base.tokenizer, base_digest=base.digest)
    decoder = load_base(base, parts.model, 0, frozen=False)
    reward = PersonalizedReward.from_language(config, parts, {"decoder": decoder}, {})

    @functools.lru_cache(maxsize=REMEMBERED)
    def read(contexts: Texts, queries: Texts) -> np.ndarray:
        return reward.margins(contexts, queries)[0]

    def margins(
        contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> np.ndarray:
        return read(tuple(map(tuple, contexts)), tuple(map(tuple, queries)))

    def likelihood(
        contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        found = margins(contexts, queries)
        return found, np.zeros_like(found)

    def gain(
        contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        found = margins(contexts, queries) - margins([()] * len(queries), queries)
        return found, np.zeros_like(found)

    def asked(
        contexts: Sequence[Sequence[Preference]], queries: Sequence[Sequence[Preference]]
    ) -> tuple[np.ndarray, np.ndarray]:
        # Both orders stand side by side, so that they share the context's tokens.
        both = [[_asked(q, order) for order in (False, True) for q in those] for those in queries]
        found = reward.margins(contexts, both)[0]
        mean = np.zeros((len(queries), max(map(len, queries), default=0)), np.float32)
        for row, values, those in zip(mean, found, queries, strict=True):
            n = len(those)
            row[:n] = (values[:n] - values[n : 2 * n]) / 2
        return mean, np.zeros_like(mean)

    return {LIKELIHOOD: likelihood, GAIN: gain, ASKED: asked}


def _asked(query: Preference, swapped: bool) -> Preference:
    """The question in words; its first answer, A, is the chosen response, or the rejected one if swapped."""
    a, b = (query.rejected, query.chosen) if swapped else (query.chosen, query.rejected)
    text = QUESTION.format(prompt=render_prompt(query.prompt), a=a, b=b)
    return replace(query, prompt=text, chosen="A", rejected="B")
