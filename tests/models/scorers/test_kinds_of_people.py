"""Kinds of people: the amplitudes that a person's pairs choose."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.config import ThreeLevelGPConfig
from fspo_jax.errors import ConfigError
from fspo_jax.models.features.style import FEATURES, style_features
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.models.scorers.three_level_gp import Adapted

BLOCK, SHOTS = 8, 8
BLOCKS = {"sentence": BLOCK, "hidden_layer_2": BLOCK, "style": len(FEATURES)}
WIDTH = sum(BLOCKS.values())
CONFIG = ThreeLevelGPConfig("three_level_gp", components=3, community_components=1)
ALL, NONE = np.ones(SHOTS, bool), np.zeros(SHOTS, bool)
SCORER = make_scorer(CONFIG, BLOCKS)


@jax.jit
def adapted(params: dict, rows: np.ndarray, mask: np.ndarray) -> Adapted:
    """What the scorer keeps of a user; rows `[SHOTS, 2, WIDTH]` for every test, as each shape is compiled."""
    return SCORER.encode_context(params, SCORER.represent(params, rows), mask)


def initial() -> dict:
    return SCORER.init(jax.random.key(0))


def context(agree_in: int | None = None) -> np.ndarray:
    """Random pairs; all chosen responses may have one thing in common, in a block of the encoder."""
    rows = np.random.default_rng(0).normal(size=(SHOTS, 2, WIDTH)).astype(np.float32)
    if agree_in is not None:
        rows[:, 0, agree_in * BLOCK] += 4.0
    return rows


def contradictory() -> np.ndarray:
    rows = context(agree_in=0)
    rows[4:] = rows[:4, ::-1]
    return rows


def features(seed: int, texts: list[str]) -> np.ndarray:
    encoder = np.random.default_rng(seed).normal(size=(len(texts), 2 * BLOCK)).astype(np.float32)
    return np.concatenate([encoder, np.stack([style_features(text) for text in texts])], axis=1)


def test_consistent_labels_give_larger_amplitudes_than_contradictory_ones() -> None:
    agree, differ = (adapted(initial(), rows, ALL).personal[0, 1] for rows in (context(0), contradictory()))
    assert agree > 1.2 * differ


def test_however_sure_a_community_is_a_persons_pairs_may_say_otherwise() -> None:
    """A community of any number of people leaves the kinds open that its people did not show."""
    params = initial()
    kinds, width = len(params["log_amplitudes"]), adapted(params, context(), NONE).weights.shape[-1]

    def largest(against: float, rows: np.ndarray) -> float:
        log_kinds = np.where(np.arange(kinds) < 2, 0.0, -against)[None].astype(np.float32)  # two small kinds
        flat = np.zeros((1, width), np.float32)
        known = {"mean": flat, "covariance": flat + 0.1, "log_weights": flat[:, 0], "log_kinds": log_kinds}
        return float(adapted({**params, "community": known}, rows, ALL).kinds[0, 2:].sum())

    assert largest(1000.0, context(0)) > 0.3 > largest(1000.0, contradictory())


@pytest.mark.parametrize("block", [0, 1])
def test_the_block_in_which_a_users_pairs_agree_stands_out(block: int) -> None:
    def of_block(mask: np.ndarray) -> float:
        scales = (
            adapted(initial(), context(block), mask).personal[0, 1 : 1 + 2 * BLOCK].reshape(2, BLOCK)[:, 0]
        )
        return float(scales[block] / scales[1 - block])

    np.testing.assert_allclose(of_block(NONE), 1.0, rtol=1e-6)
    assert of_block(ALL) > 1.2


def test_zero_shots_reward_depends_on_the_length_alone() -> None:
    params = initial()
    rows = [
        features(seed, ["A short text.", "A text that goes on for a good while longer."]) for seed in (0, 1)
    ]
    state = adapted(params, np.zeros((SHOTS, 2, WIDTH), np.float32), NONE)
    first, second = (SCORER.score(params, state, SCORER.represent(params, jnp.asarray(r))) for r in rows)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert abs(float(first[0] - first[1])) > 1e-4


def test_zero_shots_reward_follows_the_approval_where_there_is_one() -> None:
    blocks = {"sentence": BLOCK, "hidden_layer_2": BLOCK, "approval": 1, "style": len(FEATURES)}
    scorer = make_scorer(CONFIG, blocks)
    params = scorer.init(jax.random.key(0))
    rows = np.zeros((3, WIDTH + 1), np.float32)
    rows[:, 2 * BLOCK] = -1.0, 0.5, 2.0

    @jax.jit
    def rewards(params: dict) -> jax.Array:
        empty = scorer.represent(params, jnp.zeros((SHOTS, 2, WIDTH + 1)))
        state = scorer.encode_context(params, empty, jnp.asarray(NONE))
        return scorer.score(params, state, scorer.represent(params, jnp.asarray(rows)))

    found = np.diff(rewards(params))
    np.testing.assert_allclose(found, params["everyone"][1] * np.diff(rows[:, 2 * BLOCK]), rtol=1e-5)


@pytest.mark.parametrize("approval", [False, True])
def test_features_without_style_are_refused(approval: bool) -> None:
    blocks = {"sentence": BLOCK, **({"approval": 1} if approval else {})}
    with pytest.raises(ConfigError, match=f"but the features are {', '.join(blocks)}"):
        make_scorer(CONFIG, blocks)


def test_blocks_are_read_by_name_in_any_order() -> None:
    widths = {"sentence": BLOCK, "hidden_layer_2": BLOCK // 2, "approval": 1, "style": len(FEATURES)}
    generator = np.random.default_rng(0)
    columns = {
        name: generator.normal(size=(10, 2, width)).astype(np.float32) for name, width in widths.items()
    }

    def rewards(*order: str) -> np.ndarray:
        scorer = make_scorer(CONFIG, {name: widths[name] for name in order})

        @jax.jit
        def compute(rows: np.ndarray) -> jax.Array:
            params = scorer.init(jax.random.key(0))
            read = scorer.represent(params, rows)
            state = scorer.encode_context(params, read[:4], jnp.ones(4, bool))
            return scorer.score(params, state, read[4:, 0])

        return np.asarray(compute(np.concatenate([columns[name] for name in order], axis=-1)))

    first = rewards("sentence", "hidden_layer_2", "approval", "style")
    second = rewards("style", "hidden_layer_2", "approval", "sentence")
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    assert np.std(first) > 0.01
