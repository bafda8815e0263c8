"""Ranking of candidates."""

import numpy as np
import pytest
from tiny_language import make_language_reward
from tiny_reward import CANDIDATES, PAIRS

from fspo_jax import rerank
from fspo_jax.errors import DataError, FspoError
from fspo_jax.types import Preference


def test_rerank_orders_by_score_and_keeps_order_of_ties(reward):
    ana = reward.adapt(PAIRS)
    ranking = rerank(ana, "p", CANDIDATES)
    scores = ana.score("p", CANDIDATES)
    assert [c.rank for c in ranking] == list(range(1, 10))
    assert [c.index for c in ranking] == sorted(range(9), key=lambda i: -scores[i])
    assert all(c.text == CANDIDATES[c.index] for c in ranking)
    assert [c.index for c in rerank(ana, "p", ["same"] * 4)] == [0, 1, 2, 3]
    assert len(rerank(ana, "p", CANDIDATES, top_k=3)) == 3


def test_rerank_no_one_and_many_candidates(reward):
    ana = reward.adapt(PAIRS)
    assert rerank(ana, "p", []) == []
    assert len(rerank(ana, "p", ["only"])) == 1
    many = rerank(ana, "p", [f"text {i}" for i in range(10_000)])
    assert sorted(c.index for c in many) == list(range(10_000))
    assert all(np.isfinite([c.score, c.uncertainty]).all() for c in many)


def test_rerank_gives_plain_numbers_and_texts(reward):
    for line in rerank(reward.adapt(PAIRS), "p", CANDIDATES):
        assert [type(value) for value in line] == [int, int, float, float, str]


def test_rerank_with_a_reward_of_no_user_says_to_adapt_it(reward):
    with pytest.raises(DataError, match=r"must be a UserReward, not a PersonalizedReward\. Adapt it first"):
        rerank(reward, "p", CANDIDATES)
    with pytest.raises(DataError, match="must be a UserReward, not a str"):
        rerank("ana", "p", CANDIDATES)


def test_quality_adds_its_weight_to_scores_that_stay_those_of_each_candidate(reward):
    ana, quality = reward.adapt(PAIRS), np.linspace(-1.0, 1.0, len(CANDIDATES))
    plain = {line.index: line for line in rerank(ana, "p", CANDIDATES)}
    for weight in (0.0, 1.0, 2.5):
        mixed = rerank(ana, "p", CANDIDATES, quality=quality, quality_weight=weight)
        assert [line.score for line in mixed] == sorted((line.score for line in mixed), reverse=True)
        for line in mixed:
            assert line.score == pytest.approx(
                plain[line.index].score + weight * quality[line.index], abs=1e-5
            )
            assert line.uncertainty == plain[line.index].uncertainty
    assert rerank(ana, "p", CANDIDATES, quality=np.zeros(9)) == rerank(ana, "p", CANDIDATES)
    (alone,) = rerank(ana, "p", CANDIDATES[:1], quality=[0.5])
    assert alone.score == pytest.approx(plain[0].score + 0.5, abs=1e-5)
    assert rerank(ana, "p", [], quality=[]) == []


@pytest.mark.parametrize(
    ("quality", "weight", "message"),
    [
        ([1.0], 1.0, "quality has 1 number for 2 candidates. Give one number for each candidate"),
        ([1.0, float("nan")], 1.0, r"quality\[1\] must be a number between -1e\+06 and 1e\+06, not nan"),
        ([1.0, float("inf")], 1.0, r"quality\[1\] must be a number"),
        (["1", 2.0], 1.0, r"quality\[0\] must be a number"),
        ([None, 2.0], 1.0, r"quality\[0\] must be a number"),
        (1.0, 1.0, "quality must be a list of numbers, not float"),
        ({"a": 1.0, "b": 2.0}, 1.0, "quality must be a list of numbers, not dict"),
        ([1.0, 2.0], -1.0, "quality_weight must be a number between 0 and 1e"),
        ([1.0, 2.0], float("nan"), "quality_weight must be a number"),
    ],
)
def test_wrong_quality_says_what_is_allowed(reward, quality, weight, message):
    with pytest.raises(DataError, match=message):
        rerank(reward.adapt(), "p", ["a", "b"], quality=quality, quality_weight=weight)


def test_caution_ranks_by_a_lower_bound_and_needs_an_uncertainty(reward):
    ana = reward.adapt(PAIRS)
    scores, deviations = ana.score_with_uncertainty("p", CANDIDATES)
    ranked = rerank(ana, "p", CANDIDATES, caution=3.0)
    lowered = scores - 3.0 * deviations
    assert [line.index for line in ranked] == (-lowered).argsort(kind="stable").tolist()
    assert ranked[0].score == pytest.approx(lowered.max(), abs=1e-5)
    assert [line.index for line in ranked] != [line.index for line in rerank(ana, "p", CANDIDATES)]
    for caution in (-1.0, 101.0, "much", float("nan")):
        with pytest.raises(DataError, match="caution must be a number between 0 and 100"):
            rerank(ana, "p", CANDIDATES, caution=caution)
    unsure = make_language_reward("scalar").adapt()
    assert len(rerank(unsure, "p", CANDIDATES, caution=0.0)) == len(CANDIDATES)
    with pytest.raises(
        FspoError, match="caution needs the uncertainty of scores, and this reward knows none"
    ):
        rerank(unsure, "p", CANDIDATES, caution=1.0)


def test_the_order_of_people_in_general_is_kept_where_a_reward_is_not_sure_enough(reward):
    everybody = rerank(reward.adapt(), "p", CANDIDATES)
    ana = reward.adapt([Preference("p", CANDIDATES[i], everybody[0].text) for i in (0, 1)])
    own = rerank(ana, "p", CANDIDATES)
    assert own[0].index != everybody[0].index
    sure = ana.preference_probability("p", own[0].text, everybody[0].text)
    assert rerank(ana, "p", CANDIDATES, certainty=sure - 1e-6) == own
    assert rerank(ana, "p", CANDIDATES, certainty=sure + 1e-6) == everybody
    assert rerank(ana, "p", CANDIDATES, 2, certainty=1.0) == everybody[:2]
    # What makes a candidate better for everybody counts for certainty, too.
    quality = [5.0 * (i == own[0].index) for i in range(len(CANDIDATES))]
    assert rerank(ana, "p", CANDIDATES, quality=quality, certainty=0.9)[0].index == own[0].index
    assert rerank(ana, "p", [], certainty=1.0) == []
    with pytest.raises(DataError, match="certainty must be a number between 0 and 1"):
        rerank(ana, "p", CANDIDATES, certainty=90)
