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
    TransferGPConfig,
    VariationalConfig,
)
from fspo_jax.models.features.style import FEATURES
from fspo_jax.models.scorers.contract import Scorer, query_margins
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.types import Episode

WIDTH = 2 * 4 + len(FEATURES)
"""Two blocks of an encoder and style."""

CONFIGS = [
    PreferentialGPConfig("preferential_gp", hidden=16, width=8),
    SetTransformerConfig("set_transformer", width=16, heads=2, layers=2),
    TransferGPConfig("transfer_gp", components=3),
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


@pytest.fixture(params=CONFIGS, ids=lambda config: config.kind)
def scorer(request) -> Scorer:
    return make_scorer(request.param, WIDTH)


@pytest.fixture
def params(scorer):
    """Parameters away from their initial values: zeros and equal scales hide mistakes."""
    start = scorer.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(start)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(tree, [leaf + n for leaf, n in zip(leaves, noise, strict=True)])


def features(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, WIDTH)).astype(np.float32)


def rewards(scorer, params, context, mask, candidates):
    state = scorer.encode_context(params, scorer.represent(params, context), mask)
    return scorer.score(params, state, scorer.represent(params, candidates))


def test_score_padding_changes_nothing(scorer, params):
    context, candidates = features(0, 3, 2), features(1, 5)
    padded = np.concatenate([context, 1e3 * features(2, 4, 2)])
    plain = rewards(scorer, params, context, np.ones(3, bool), candidates)
    masked = rewards(scorer, params, padded, np.arange(7) < 3, candidates)
    np.testing.assert_allclose(plain, masked, atol=2e-5)


def test_score_candidate_alone_equals_candidate_in_batch(scorer, params):
    context, candidates = features(0, 3, 2), features(1, 5)
    together = rewards(scorer, params, context, np.ones(3, bool), candidates)
    alone = [rewards(scorer, params, context, np.ones(3, bool), candidates[i : i + 1])[0] for i in range(5)]
    np.testing.assert_allclose(together, np.array(alone), atol=2e-5)


def test_query_margins_equal_encoding_and_scoring_apart(scorer, params):
    context, queries = features(0, 2, 3, 2), features(1, 2, 4, 2)
    mask = np.array([[True, True, False], [True, True, True]])
    episode = Episode(context, mask, queries, np.ones((2, 4), bool))
    mean, variance = query_margins(scorer, params, episode)
    for user in range(2):
        both = rewards(scorer, params, context[user], mask[user], queries[user].reshape(8, WIDTH)).reshape(
            4, 2
        )
        np.testing.assert_allclose(mean[user], both[:, 0] - both[:, 1], atol=2e-5)
    assert variance.shape == mean.shape and (variance >= 0).all()


def test_score_zero_shots_is_finite_with_finite_gradients(scorer, params):
    episode = Episode(
        features(0, 2, 3, 2), np.zeros((2, 3), bool), features(1, 2, 4, 2), np.ones((2, 4), bool)
    )

    def loss(params):
        mean, variance = query_margins(scorer, params, episode)
        return (jnp.square(mean) + variance).sum()

    value, gradient = jax.value_and_grad(loss)(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_score_context_order_does_not_matter(scorer, params):
    context, candidates = features(0, 4, 2), features(1, 5)
    mask = np.ones(4, bool)
    plain = rewards(scorer, params, context, mask, candidates)
    shuffled = rewards(scorer, params, context[[2, 0, 3, 1]], mask, candidates)
    np.testing.assert_allclose(plain, shuffled, atol=2e-5)


def test_query_margins_swapped_query_negates_the_margin(scorer, params):
    context, queries = features(0, 1, 3, 2), features(1, 1, 4, 2)
    masks = np.ones((1, 3), bool), np.ones((1, 4), bool)
    mean, variance = query_margins(scorer, params, Episode(context, masks[0], queries, masks[1]))
    swapped = Episode(context, masks[0], queries[:, :, ::-1], masks[1])
    swapped_mean, swapped_variance = query_margins(scorer, params, swapped)
    np.testing.assert_allclose(mean, -swapped_mean, atol=1e-5)
    np.testing.assert_allclose(variance, swapped_variance, atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS[:-1], ids=lambda config: config.kind)
def test_score_context_matters(config):
    scorer = make_scorer(config, WIDTH)
    params = scorer.init(jax.random.key(0))
    context, candidates = 3 * features(0, 3, 2), features(1, 5)
    plain = rewards(scorer, params, context, np.ones(3, bool), candidates)
    flipped = rewards(scorer, params, context[:, ::-1], np.ones(3, bool), candidates)
    assert np.abs(plain - flipped).max() > 1e-3


def test_population_context_is_ignored():
    scorer = make_scorer(CONFIGS[-1], WIDTH)
    params = scorer.init(jax.random.key(0))
    first, second = (
        rewards(scorer, params, features(seed, 3, 2), np.ones(3, bool), features(9, 5)) for seed in (0, 1)
    )
    np.testing.assert_array_equal(first, second)
