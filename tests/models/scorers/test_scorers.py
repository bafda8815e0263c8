"""The properties that every scorer keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.config import (
    FastWeightsConfig,
    GroupPreferenceConfig,
    LowRankConfig,
    MetaRewardConfig,
    MixtureConfig,
    PopulationConfig,
    PreferentialGPConfig,
    PrototypesConfig,
    SetTransformerConfig,
    ThreeLevelGPConfig,
    VariationalConfig,
)
from fspo_jax.models.features.style import FEATURES
from fspo_jax.models.scorers.contract import query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.types import Episode

BLOCKS = {"sentence": 4, "hidden_layer_2": 4, "style": len(FEATURES)}
WIDTH = sum(BLOCKS.values())

CONFIGS = [
    PreferentialGPConfig("preferential_gp", hidden=16, width=8),
    SetTransformerConfig("set_transformer", width=16, heads=2, layers=2),
    ThreeLevelGPConfig("three_level_gp", components=3),
    LowRankConfig("low_rank", rank=4, weights="simplex"),
    LowRankConfig("low_rank", rank=4, basis_hidden=16),
    PrototypesConfig("prototypes", prototypes=3, width=4, hidden=16),
    GroupPreferenceConfig("group_preference", width=16, heads=2, layers=2),
    VariationalConfig("variational", latent=4, hidden=16),
    MetaRewardConfig("meta_reward", bases=4, hidden=16),
    FastWeightsConfig("fast_weights", hidden=16, width=8),
    MixtureConfig("mixture", groups=3, hidden=16),
    PopulationConfig("population", hidden=16),
]


K, C, B, Q = 3, 8, 2, 4
"""One shape for most tests: every shape is a program to compile."""


class Case:
    """A scorer, parameters away from their initial values, and its compositions, compiled."""

    def __init__(self, config):
        scorer = make_scorer(config, BLOCKS)
        self.kind = config.kind
        generator = np.random.default_rng(0)
        self.start = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), scorer.init(jax.random.key(0)))
        self.params = jax.tree.map(  # zeros and equal scales hide mistakes
            lambda leaf: leaf + np.float32(0.3) * generator.normal(size=leaf.shape).astype(np.float32),
            self.start,
        )

        def rewards(params, context, mask, candidates):
            state = scorer.encode_context(params, scorer.represent(params, context), mask)
            return scorer.score(params, state, scorer.represent(params, candidates))

        def loss(params, episode):
            mean, variance = query_margins(scorer, params, episode)
            return (jnp.square(mean) + variance).sum(), (mean, variance)

        self._rewards, self._loss = jax.jit(rewards), jax.jit(jax.value_and_grad(loss, has_aux=True))

    def rewards(self, context, candidates, mask=None, *, params=None):
        mask = np.ones(len(context), bool) if mask is None else mask
        return np.asarray(self._rewards(self.params if params is None else params, context, mask, candidates))

    def loss(self, episode):
        """A loss of the query margins, the margins' mean and variance, and the gradient of the loss."""
        (value, (mean, variance)), gradient = self._loss(self.params, episode)
        return value, mean, variance, gradient


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.kind)
def case(request) -> Case:
    return Case(request.param)


def features(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, WIDTH)).astype(np.float32)


def test_score_neither_padding_nor_other_candidates_change_anything(case):
    context, candidates = features(0, K, 2), features(1, C)
    padded = np.concatenate([context, 1e3 * features(2, 4, 2)])
    alone = [case.rewards(padded, candidates[i : i + 1], np.arange(K + 4) < K)[0] for i in range(C)]
    np.testing.assert_allclose(case.rewards(context, candidates), np.array(alone), atol=2e-5)


def test_query_margins_equal_encoding_and_scoring_apart(case):
    context, queries = features(0, B, K, 2), features(1, B, Q, 2)
    mask = np.array([[True, True, False], [True, True, True]])
    _, mean, variance, _ = case.loss(Episode(context, mask, queries, np.ones((B, Q), bool)))
    for user in range(B):
        both = case.rewards(context[user], queries[user].reshape(2 * Q, WIDTH), mask[user]).reshape(Q, 2)
        np.testing.assert_allclose(mean[user], both[:, 0] - both[:, 1], atol=2e-5)
    assert variance.shape == mean.shape and (variance >= 0).all()


def test_score_zero_shots_is_finite_with_finite_gradients(case):
    episode = Episode(
        features(0, B, K, 2), np.zeros((B, K), bool), features(1, B, Q, 2), np.ones((B, Q), bool)
    )
    value, _, _, gradient = case.loss(episode)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_absurd_features_and_contradictory_labels_give_finite_margins(case):
    context, queries = features(0, B, K, 2), features(1, B, Q, 2)
    context[:, 1] = context[:, 0, ::-1]
    masks = np.ones((B, K), bool), np.ones((B, Q), bool)
    for scale in (30.0, 300.0):
        _, mean, variance, _ = case.loss(Episode(scale * context, masks[0], scale * queries, masks[1]))
        assert np.isfinite(mean).all() and np.isfinite(variance).all()


def test_score_context_order_does_not_matter(case):
    context, candidates = features(0, K, 2), features(1, C)
    shuffled = case.rewards(context[[2, 0, 1]], candidates)
    np.testing.assert_allclose(case.rewards(context, candidates), shuffled, atol=2e-5)


def test_query_margins_swapped_query_negates_the_margin(case):
    context, queries = features(0, B, K, 2), features(1, B, Q, 2)
    masks = np.ones((B, K), bool), np.ones((B, Q), bool)
    _, mean, variance, _ = case.loss(Episode(context, masks[0], queries, masks[1]))
    _, swapped_mean, swapped_variance, _ = case.loss(
        Episode(context, masks[0], queries[:, :, ::-1], masks[1])
    )
    np.testing.assert_allclose(mean, -swapped_mean, atol=1e-5)
    np.testing.assert_allclose(variance, swapped_variance, atol=1e-5)


def test_score_context_matters_except_to_the_population(case):
    context, candidates = 3 * features(0, K, 2), features(1, C)
    plain, flipped, other = (
        case.rewards(pairs, candidates, params=case.start)
        for pairs in (context, context[:, ::-1], features(2, K, 2))
    )
    if case.kind == "population":
        np.testing.assert_array_equal(plain, flipped)
        np.testing.assert_array_equal(plain, other)
    else:
        assert np.abs(plain - flipped).max() > 1e-3
