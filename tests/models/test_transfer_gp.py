"""The Gaussian process for studies never trained on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.config import TransferGPConfig
from fspo_jax.models.scorers import make_scorer
from fspo_jax.models.style import FEATURES, style_features

BLOCK = 8
CONFIG = TransferGPConfig("transfer_gp", components=3)


def features(seed: int, texts: list[str]) -> np.ndarray:
    encoder = np.random.default_rng(seed).normal(size=(len(texts), 2 * BLOCK)).astype(np.float32)
    return np.concatenate([encoder, np.stack([style_features(text) for text in texts])], axis=1)


def test_consistent_labels_speak_for_larger_amplitudes_than_contradictory_ones() -> None:
    scorer = make_scorer(CONFIG, 2 * BLOCK + len(FEATURES))
    params = scorer.init(jax.random.key(0))
    rows = np.random.default_rng(0).normal(size=(8, 2, 2 * BLOCK + len(FEATURES))).astype(np.float32)
    rows[:, 0, 0] += 4.0  # all chosen responses have one thing in common
    contradictory = rows.copy()
    contradictory[4:] = rows[:4, ::-1]
    mask = np.ones(8, bool)
    amplitudes = [
        float(scorer.encode_context(params, scorer.represent(params, jnp.asarray(context)), mask).scales[1])
        for context in (rows, contradictory)
    ]
    assert amplitudes[0] > 1.2 * amplitudes[1]


def test_zero_shots_reward_depends_on_the_length_alone() -> None:
    scorer = make_scorer(CONFIG, 2 * BLOCK + len(FEATURES))
    params = scorer.init(jax.random.key(0))
    rows = [
        features(seed, ["A short text.", "A text that goes on for a good while longer."]) for seed in (0, 1)
    ]
    empty = jnp.zeros((4, 2, 2 * BLOCK + len(FEATURES)))
    state = scorer.encode_context(params, scorer.represent(params, empty), np.zeros(4, bool))
    first, second = (scorer.score(params, state, scorer.represent(params, jnp.asarray(r))) for r in rows)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert abs(float(first[0] - first[1])) > 1e-4


def test_features_that_are_no_blocks_and_style_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks and style"):
        make_scorer(CONFIG, 2 * BLOCK + len(FEATURES) + 1)
