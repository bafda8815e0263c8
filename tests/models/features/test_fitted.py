"""Scales and directions of features, fitted on the texts of meta-training."""

import numpy as np
import pytest
from tiny_encoder import write_encoder

from fspo_jax.config import EncoderConfig, HiddenLayerConfig, SentenceConfig, StyleConfig
from fspo_jax.errors import CheckpointError
from fspo_jax.models.features.fitted import LEAST_SHARE, changed_blocks, changed_rows, fit_columns
from fspo_jax.models.features.make import make_featurizer

BLOCKS = {"sentence": 6, "style": 4}
FEATURES = (SentenceConfig(directions=3), StyleConfig())
SCALED = (SentenceConfig(standardize=True), StyleConfig())


def world(prompts=40, responses=5, seed=0):
    """Rows whose columns have sizes of their own around a mean of their prompt, and the prompts."""
    generator = np.random.default_rng(seed)
    sizes = np.array([9.0, 3.0, 1.0, 0.9, 0.8, 0.7, 5.0, 5.0, 5.0, 5.0])
    means = 50 * generator.normal(size=(prompts, 1, 10))
    rows = means + sizes * generator.normal(size=(prompts, responses, 10))
    return rows.reshape(-1, 10).astype(np.float32), [
        f"p{i}" for i in range(prompts) for _ in range(responses)
    ]


def differences(rows, responses=5):
    grouped = rows.reshape(-1, responses, rows.shape[1])
    return (grouped - grouped.mean(1, keepdims=True)).reshape(-1, rows.shape[1])


def test_standardized_columns_have_unit_variance_among_the_responses_to_a_prompt():
    rows, prompts = world()
    fitted = fit_columns(rows, prompts, BLOCKS, SCALED)
    assert {name: array.shape for name, array in fitted.items()} == {"sentence": (6,)}
    changed = changed_rows(rows, BLOCKS, fitted)
    spread = np.square(differences(changed[:, :6])).sum(0) / (40 * 4)
    np.testing.assert_allclose(spread, 1, atol=1e-4)
    np.testing.assert_array_equal(changed[:, 6:], rows[:, 6:])


@pytest.mark.parametrize("standardize", [False, True])
def test_directions_are_the_principal_ones_and_keep_the_size_of_kernels(standardize):
    rows, prompts = world()
    features = (SentenceConfig(directions=3, standardize=standardize), StyleConfig())
    fitted = fit_columns(rows, prompts, BLOCKS, features)
    assert changed_blocks(BLOCKS, fitted) == {"sentence": 3, "style": 4} and list(fitted) == ["sentence"]
    reduced = differences(changed_rows(rows, BLOCKS, fitted))[:, :3]
    scaled = differences(rows[:, :6])
    if standardize:
        scaled = scaled / np.sqrt(np.square(scaled).sum(0) / (40 * 4))
    spread = np.linalg.svd(scaled, compute_uv=False)[:3]
    found = np.linalg.svd(reduced, compute_uv=False)
    np.testing.assert_allclose(found / found[0], spread / spread[0], rtol=1e-3)
    assert np.square(reduced).mean() == pytest.approx(np.square(scaled).mean(), rel=1e-3)


def test_fit_is_the_same_in_any_order_and_ignores_prompts_with_one_response():
    rows, prompts = world()
    fitted = fit_columns(rows, prompts, BLOCKS, FEATURES)
    order = np.random.default_rng(1).permutation(len(rows) + 1)
    more = np.concatenate([rows, np.full((1, 10), 1e4, np.float32)])[order]
    again = fit_columns(more, [[*prompts, "alone"][i] for i in order], BLOCKS, FEATURES)
    for name, array in fitted.items():
        np.testing.assert_allclose(again[name], array, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("column", [0, 1], ids=["constant", "rare"])
def test_columns_that_hardly_vary_are_not_blown_up(column):
    rows, prompts = world()
    rows[:, column] = 1e-6 * rows[:, column] if column else 7.0
    scales = fit_columns(rows, prompts, BLOCKS, SCALED)["sentence"]
    assert scales[column] <= np.median(scales) / LEAST_SHARE * 1.5 and np.isfinite(scales).all()


@pytest.mark.parametrize(
    ("rows", "prompts"),
    [(np.ones((1, 10), np.float32), ["p"]), (np.zeros((4, 10), np.float32), list("ppqq"))],
)
def test_fit_of_nothing_to_compare_is_finite(rows, prompts):
    fitted = fit_columns(rows, list(prompts), BLOCKS, FEATURES)
    assert all(np.isfinite(array).all() for array in fitted.values())
    assert np.isfinite(changed_rows(rows, BLOCKS, fitted)).all()


def test_prompts_with_one_response_each_are_compared_with_each_other():
    rows, _ = world()
    scales = fit_columns(rows, list(range(len(rows))), BLOCKS, SCALED)
    np.testing.assert_allclose(1 / scales["sentence"], rows[:, :6].std(0), rtol=0.01)


def test_featurizer_with_fitted_gives_the_changed_columns_and_another_fingerprint(tmp_path):
    features = (SentenceConfig(directions=3), HiddenLayerConfig(layer=1, standardize=True), StyleConfig())
    config = EncoderConfig(str(write_encoder(tmp_path / "m")), cache=str(tmp_path / "cache"))
    plain = make_featurizer(config, features)
    responses = ["the cat", "a dog ran far away", "on the mat!", "good", "bad and good", "sat"]
    prompts = ["p"] * 6
    rows = plain(prompts, responses)
    fitted = fit_columns(rows, prompts, plain.blocks, features)
    featurizer = plain.with_fitted(fitted)
    assert featurizer.blocks == {"sentence": 3, "hidden_layer_1": 16, "style": plain.blocks["style"]}
    assert featurizer.dimension == sum(featurizer.blocks.values())
    assert featurizer.columns["sentence"] == {} and featurizer.columns["style"] == plain.columns["style"]
    assert featurizer.fingerprint != plain.fingerprint
    np.testing.assert_allclose(
        featurizer(prompts, responses), changed_rows(rows, plain.blocks, fitted), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        featurizer.other_columns(prompts, responses), featurizer(prompts, responses)[:, 19:], rtol=1e-6
    )
    for damaged in ({"sentence": fitted["sentence"][:5]}, {"hidden_layer_1": np.float32(1)}):
        with pytest.raises(CheckpointError, match="what was fitted for the block"):
            plain.with_fitted({**fitted, **damaged})
