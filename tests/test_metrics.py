import math

import numpy as np
import pytest

from fspo_jax.metrics import (
    brier,
    calibration,
    correctness,
    fit_temperature,
    interval,
    log_loss,
    predicted,
    predicted_logit,
    probability,
    regret,
    scores,
    user_means,
    winrate_against_random,
    worst_decile,
    worst_group,
)


def test_correctness_ties_count_half_and_nan_stays():
    np.testing.assert_array_equal(correctness(np.array([2.0, 0.0, -1.0, np.nan])), [1, 0.5, 0, np.nan])


def test_user_means_each_user_counts_once_and_masked_values_do_not():
    values = np.array([[1.0, 0.0, 9.0], [1.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
    mask = np.array([[True, True, False], [True, True, True], [False, False, False]])
    np.testing.assert_array_equal(user_means(values, mask), [0.5, 1.0, np.nan])


def test_interval_covers_the_mean_at_its_stated_rate():
    covered = [
        low <= 0.3 <= high
        for seed in range(200)
        for _, low, high in [interval((np.random.default_rng(seed).random(80) < 0.3).astype(float), seed)]
    ]
    assert 0.88 <= np.mean(covered) <= 0.99


def test_interval_nan_is_not_dropped_and_no_user_is_nan():
    assert math.isnan(interval(np.array([1.0, np.nan])).mean)
    assert math.isnan(interval(np.array([])).mean)


def test_worst_decile_is_the_mean_of_the_lowest_tenth():
    assert worst_decile(np.arange(20)[::-1]) == 0.5
    assert worst_decile(np.array([0.7, 0.9])) == 0.7


def test_log_loss_and_brier_formulas():
    p = np.array([0.5, 0.9])
    np.testing.assert_allclose(log_loss(p), [math.log(2), -math.log(0.9)])
    np.testing.assert_allclose(brier(p), [0.25, 0.01])
    assert np.isfinite(log_loss(np.array([0.0])))


def test_calibration_by_hand():
    # Two predictions of .92, one right; two of .55, both right; .45 is .55 for the other side, wrong.
    bins = calibration(np.array([0.92, 0.08, 0.55, 0.55]))
    assert bins.confidence[8] == pytest.approx(0.92) and bins.frequency[8] == 0.5
    assert bins.frequency[1] == 1.0 and np.isnan(bins.frequency[0])
    assert bins.error == pytest.approx(0.5 * 0.42 + 0.5 * 0.45)


def test_calibration_of_true_probabilities_is_small():
    generator = np.random.default_rng(0)
    p = generator.random(40_000)
    assert calibration(np.where(generator.random(40_000) < p, p, 1 - p)).error < 0.01


def test_winrate_and_regret_by_hand():
    utilities = np.array([3.0, 1.0, 3.0, 0.0])
    assert winrate_against_random(utilities, 0) == (0.5 + 1 + 0.5 + 1) / 4
    assert regret(utilities, 1) == 2.0
    best_of_8 = winrate_against_random(np.arange(8.0), 7)
    assert best_of_8 == 1 - 0.5 / 8


def test_scores_are_the_metrics_of_the_real_queries():
    odds = np.array([[2.0, -1.0, 99.0], [0.0, 1.0, 3.0]])
    mask = np.array([[True, True, False], [True, True, True]])
    p = 1 / (1 + np.exp(-odds))
    found = scores(odds, mask)
    np.testing.assert_allclose(found.accuracy, [0.5, (0.5 + 1 + 1) / 3])
    by_user = [np.log(p[0, :2]).mean(), np.log(p[1]).mean()]
    assert found.log_loss == pytest.approx(-np.mean(by_user))
    assert found.brier == pytest.approx(np.mean([np.square(1 - p[0, :2]).mean(), np.square(1 - p[1]).mean()]))
    assert found.calibration_error == calibration(p[mask]).error
    assert found.worst_decile == 0.5


def test_worst_group_leaves_small_and_unnamed_groups_out():
    values = np.array([0.9] * 5 + [0.6] * 5 + [0.1] * 4 + [0.0] * 6)
    groups = ["a"] * 5 + ["b"] * 5 + ["small"] * 4 + [""] * 6
    worst = worst_group(values, groups)
    assert worst is not None
    assert (worst.name, worst.groups, worst.mean) == ("b", 2, interval(np.full(5, 0.6)))
    assert worst.gap == pytest.approx(0.3)
    assert worst_group(values, ["a"] * 20) is None


@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_that_made_the_outcomes_is_found(temperature: float, scale: float) -> None:
    generator = np.random.default_rng(0)
    logits = scale * generator.normal(size=50_000)
    right = generator.random(len(logits)) < probability(logits / temperature)
    logits = np.where(right, logits, -logits)
    assert fit_temperature(logits) == pytest.approx(temperature, rel=0.1 if scale > 1 else 0.04)
    before, after = (calibration(probability(logits / t)).error for t in (1.0, temperature))
    assert after < 0.01
    assert (before < 0.01) == (temperature == 1.0)


def test_few_predictions_leave_the_temperature_near_one() -> None:
    assert fit_temperature(np.zeros(0)) == pytest.approx(1.0)
    assert 0.7 < fit_temperature(np.full(3, 1.4)) < 1.0 < fit_temperature(np.full(3, -1.4)) < 2.0


def test_a_logit_that_is_not_finite_is_refused() -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            fit_temperature(np.array([1.0, value]))


def test_predicted_probability_is_the_sigmoid_of_the_predicted_logit() -> None:
    mean, variance = np.array([-2.0, 0.0, 3.0], np.float32), np.array([0.0, 1.0, 2.0], np.float32)
    logits = predicted_logit(mean, variance)
    np.testing.assert_allclose(logits, [-2.0, 0.0, 3.0 / np.sqrt(1 + np.pi / 4)])
    np.testing.assert_allclose(predicted(mean, variance), 1 / (1 + np.exp(-logits)))
