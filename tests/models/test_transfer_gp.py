"""The Gaussian process for studies never trained on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.config import TransferGPConfig
from fspo_jax.models.features.style import FEATURES, style_features
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.models.scorers.preferential_gp import laplace_posterior, posterior_variance
from fspo_jax.models.scorers.transfer_gp import left_out_log_likelihood

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


@pytest.mark.parametrize("block", [0, 1])
def test_the_block_in_which_a_users_pairs_agree_stands_out(block: int) -> None:
    scorer = make_scorer(CONFIG, 2 * BLOCK + len(FEATURES))
    params = scorer.init(jax.random.key(0))
    rows = np.random.default_rng(0).normal(size=(8, 2, 2 * BLOCK + len(FEATURES))).astype(np.float32)
    rows[:, 0, block * BLOCK] += 4.0  # all chosen responses have one thing in common, in this block
    context = scorer.represent(params, jnp.asarray(rows))

    def of_block(mask: np.ndarray) -> float:
        scales = (
            scorer.encode_context(params, context, mask).scales[1 : 1 + 2 * BLOCK].reshape(2, BLOCK)[:, 0]
        )
        return float(scales[block] / scales[1 - block])

    np.testing.assert_allclose(of_block(np.zeros(8, bool)), 1.0, rtol=1e-6)
    assert of_block(np.ones(8, bool)) > 1.2


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


def test_zero_shots_reward_follows_the_approval_where_there_is_one() -> None:
    config = TransferGPConfig("transfer_gp", components=3, approval=True)
    scorer = make_scorer(config, 2 * BLOCK + 1 + len(FEATURES))
    params = scorer.init(jax.random.key(0))
    rows = np.zeros((3, 2 * BLOCK + 1 + len(FEATURES)), np.float32)
    rows[:, 2 * BLOCK] = -1.0, 0.5, 2.0
    empty = scorer.represent(params, jnp.zeros((4, 2, rows.shape[1])))
    state = scorer.encode_context(params, empty, np.zeros(4, bool))
    rewards = np.asarray(scorer.score(params, state, scorer.represent(params, jnp.asarray(rows))))
    np.testing.assert_allclose(np.diff(rewards), params["approval"] * np.diff(rows[:, 2 * BLOCK]), rtol=1e-5)


def test_factors_of_the_kind_of_people_that_the_labels_speak_for_correct_the_posterior() -> None:
    scorer = make_scorer(CONFIG, 2 * BLOCK + len(FEATURES))
    params = scorer.init(jax.random.key(0))
    rows = np.random.default_rng(0).normal(size=(8, 2, 2 * BLOCK + len(FEATURES))).astype(np.float32)
    context = scorer.represent(params, jnp.asarray(rows))
    params = {**params, "consistency": jnp.zeros(2)}
    everybody = {**params, "log_corrections": jnp.full((6, 2), jnp.log(2.0))}
    plain, doubled = (scorer.encode_context(p, context, np.ones(8, bool)) for p in (params, everybody))
    np.testing.assert_allclose(doubled.weights, 2 * plain.weights, rtol=1e-5)
    np.testing.assert_allclose(doubled.variance_factor, 2.0, rtol=1e-5)
    one_kind = {**params, "log_corrections": jnp.zeros((6, 2)).at[0, 1].set(1.0)}
    factor = float(scorer.encode_context(one_kind, context, np.ones(8, bool)).variance_factor)
    assert 1.0 < factor < np.exp(1.0)


def test_factors_grow_with_the_number_of_pairs_from_none() -> None:
    scorer = make_scorer(CONFIG, 2 * BLOCK + len(FEATURES))
    params = scorer.init(jax.random.key(0))
    params = {**params, "consistency": jnp.zeros(2), "pairs": jnp.array([0.0, -1.0])}
    rows = np.random.default_rng(0).normal(size=(8, 2, 2 * BLOCK + len(FEATURES))).astype(np.float32)
    context = scorer.represent(params, jnp.asarray(rows))
    found = [scorer.encode_context(params, context, np.arange(8) < n).variance_factor for n in (0, 4, 8)]
    np.testing.assert_allclose(found, np.exp([0.0, -1 / 2, -2 / 3]), rtol=1e-5)


def test_left_out_likelihood_agrees_with_posteriors_that_never_saw_the_pair() -> None:
    generator = np.random.default_rng(0)
    rows = jnp.asarray(generator.normal(size=(8, 5)), jnp.float32)
    offsets = jnp.asarray(generator.normal(size=8), jnp.float32)
    mask = jnp.arange(8) < 6
    found = left_out_log_likelihood(laplace_posterior(rows, offsets, mask, 20), offsets)
    for i in range(6):
        without = laplace_posterior(rows, offsets, mask & (jnp.arange(8) != i), 20)
        mean = offsets[i] + rows[i] @ without.mean
        variance = posterior_variance(without.differences, without.precision, rows[i : i + 1])[0]
        expected = jax.nn.log_sigmoid(mean / jnp.sqrt(1 + jnp.pi * variance / 8))
        np.testing.assert_allclose(found[i], expected, atol=0.12)  # Laplace against Laplace: close, not equal
    in_sample = jax.nn.log_sigmoid(offsets + rows @ laplace_posterior(rows, offsets, mask, 20).mean)
    assert float(found[:6].mean()) < float(in_sample[:6].mean()) - 0.1


def test_a_user_whose_pairs_foresee_each_other_is_predicted_with_more_confidence() -> None:
    scorer = make_scorer(CONFIG, 2 * BLOCK + len(FEATURES))
    params = scorer.init(jax.random.key(0))
    rows = np.random.default_rng(0).normal(size=(8, 2, 2 * BLOCK + len(FEATURES))).astype(np.float32)
    rows[:, 0, 0] += 4.0  # all chosen responses have one thing in common
    contradictory = rows.copy()
    contradictory[4:] = rows[:4, ::-1]
    empty = scorer.encode_context(params, scorer.represent(params, jnp.asarray(rows)), np.zeros(8, bool))
    factors = [
        float(
            scorer.encode_context(
                params, scorer.represent(params, jnp.asarray(context)), np.ones(8, bool)
            ).variance_factor
        )
        for context in (rows, contradictory)
    ]
    np.testing.assert_allclose(empty.variance_factor, 1.0, rtol=1e-6)
    assert factors[0] < 0.9 < 1.0 < factors[1]


@pytest.mark.parametrize("approval", [False, True])
def test_features_that_are_no_blocks_and_style_are_refused(approval: bool) -> None:
    config = TransferGPConfig("transfer_gp", approval=approval)
    with pytest.raises(ValueError, match=r"blocks.*and style"):
        make_scorer(config, 2 * BLOCK + len(FEATURES) + 1 - approval)
