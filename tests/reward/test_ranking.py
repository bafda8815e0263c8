"""Ranking of candidates."""

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS

from fspo_jax import rerank
from fspo_jax.errors import DataError


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
