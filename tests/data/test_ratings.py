import numpy as np
import pytest

from fspo_jax.data.ratings import Rating, calibrated, preferences_of
from fspo_jax.errors import DataError, LimitError
from fspo_jax.types import Preference


def test_ratings_give_the_true_qualities_whatever_scale_a_rater_uses():
    generator = np.random.default_rng(0)
    quality = generator.normal(size=40)
    ratings = []
    for u in range(20):
        shift, scale = generator.uniform(20, 80), generator.uniform(2, 15)
        for i in generator.choice(40, 30, replace=False):
            ratings.append(Rating(f"u{u}", f"p{i}", f"r{i}", shift + scale * quality[i]))
    scaled = calibrated(ratings)
    true = np.array([quality[int(r.response[1:])] for r in ratings])
    raw = np.array([r.value for r in ratings])
    assert np.corrcoef(scaled, true)[0, 1] > 0.9 > 0.6 > np.corrcoef(raw, true)[0, 1]


def test_calibration_of_one_rating_stays_near_the_scale_of_everybody():
    many = [Rating("many", "p", f"r{i}", 50.0 + i % 2) for i in range(100)]
    lone = calibrated([*many, Rating("one", "p", "r", 100.0)])[-1]
    values = np.array([r.value for r in many] + [100.0])
    mean = (100.0 + 5 * values.mean()) / 6
    variance = ((100.0 - mean) ** 2 + 5 * values.var()) / 6
    assert lone == pytest.approx((100.0 - mean) / variance**0.5)


def test_pairs_need_a_gap_and_one_prompt():
    ratings = [Rating("u", "p", text, value) for text, value in (("a", 90.0), ("b", 10.0), ("c", 11.0))]
    ratings.append(Rating("u", "other", "d", 1.0))
    assert list(preferences_of(ratings)) == [
        ("u", Preference("p", "a", "b")),
        ("u", Preference("p", "a", "c")),
    ]


def test_ratings_that_are_not_finite_raise():
    with pytest.raises(DataError, match="finite"):
        calibrated([Rating("u", "p", "a", float("nan"))])


def test_ratings_of_very_many_responses_to_one_prompt_are_refused_before_pairs_are_made():
    ratings = [Rating("u", "p", f"r{i}", float(i)) for i in range(1001)]
    with pytest.raises(LimitError, match="user u has rated 1,001 responses to one prompt; at most 1,000"):
        next(preferences_of(ratings))
    assert next(preferences_of(ratings[1:])) == ("u", Preference("p", f"r{1 + 145}", "r1"))
