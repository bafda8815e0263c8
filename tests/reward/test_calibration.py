"""Calibration by temperature scaling."""

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, WIDTH, HashedFeatures

from fspo_jax.errors import CheckpointError, DataError, LimitError
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.types import Preference


def consistent_people(share: float, people: int = 12) -> list[list[Preference]]:
    """People with a direction of their own each; a share of their labels is reversed."""
    generator = np.random.default_rng(0)
    made = []
    for u in range(people):
        taste, pairs = generator.normal(size=WIDTH), []
        for i in range(8):
            a, b = f"{u} a {i}", f"{u} b {i}"
            first, second = HashedFeatures()(["?", "?"], [a, b])
            if ((first - second) @ taste > 0) == (generator.random() < share):
                a, b = b, a
            pairs.append(Preference("?", a, b))
        made.append(pairs)
    return made


def test_temperature_is_fitted_to_users_adapted_to_the_other_pairs(reward, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fspo_jax.reward.calibration.fit_temperature", lambda logits: seen.append(logits) or 2.0
    )
    monkeypatch.setattr("fspo_jax.reward.calibration.PAIRS_PER_BATCH", 3)
    twice = Preference("question 9", "good 1", "another text")  # shares a response with PAIRS[1]
    assert reward.calibrated([PAIRS, [], [*PAIRS[:2], twice]]).temperature == 2.0
    expected = []
    others = [[*PAIRS[:i], *PAIRS[i + 1 :]] for i in range(5)]
    for pair, rest in zip(
        [*PAIRS, *PAIRS[:2], twice], [*others, [PAIRS[1], twice], PAIRS[:1], PAIRS[:1]], strict=True
    ):
        p = reward.adapt(rest).preference_probability(pair.prompt, pair.chosen, pair.rejected)
        expected.append(np.log(p / (1 - p)))
    np.testing.assert_allclose(seen[0], expected, atol=1e-4)


def test_calibrated_reward_divides_log_odds_and_ranks_as_before(reward):
    calibrated = reward.calibrated(consistent_people(0.0))
    assert reward.temperature == 1.0
    assert reward.calibrated(consistent_people(0.5)).temperature > calibrated.temperature + 0.1
    assert abs(calibrated.temperature - 1.0) > 0.05
    users = [one.adapt(PAIRS) for one in (reward, calibrated)]
    plain, sharper = (user.score("Why?", CANDIDATES) for user in users)
    np.testing.assert_allclose(sharper * calibrated.temperature, plain, rtol=1e-5)
    odds = [
        np.log(p / (1 - p)) for p in (user.preference_probability("Why?", *CANDIDATES[:2]) for user in users)
    ]
    np.testing.assert_allclose(odds[1] * calibrated.temperature, odds[0], rtol=1e-4)
    query = [Preference("Why?", *CANDIDATES[:2])]
    (mean, variance), (cool, same) = (one.margins([PAIRS], [query]) for one in (reward, calibrated))
    np.testing.assert_allclose(cool * calibrated.temperature, mean, rtol=1e-5)
    np.testing.assert_array_equal(same, variance)


def test_calibrating_again_begins_anew_and_saved_users_fit_both(reward, tmp_path):
    people = consistent_people(0.0)
    calibrated = reward.calibrated(people)
    assert calibrated.calibrated(people).temperature == calibrated.temperature
    reward.adapt(PAIRS).save(tmp_path / "ana")
    user = UserReward.load(tmp_path / "ana", calibrated)
    np.testing.assert_array_equal(
        user.score("Why?", CANDIDATES), calibrated.adapt(PAIRS).score("Why?", CANDIDATES)
    )


def test_calibrating_on_no_people_or_too_many_pairs_raises(reward):
    for nobody in ([], [[], []]):
        with pytest.raises(DataError, match="there is no labelled pair"):
            reward.calibrated(nobody)
    with pytest.raises(LimitError, match="context has 10 preferences"):
        reward.calibrated([[Preference("p", f"a{i}", f"b{i}") for i in range(10)]])


def test_calibrating_a_reward_that_is_not_finite_raises(reward):
    params = {**reward.scoring.params, "log_correction": np.full(2, np.nan, np.float32)}
    broken = PersonalizedReward.from_parts(reward.config, params, HashedFeatures())
    with pytest.raises(CheckpointError, match="not a finite number"):
        broken.calibrated([PAIRS])
