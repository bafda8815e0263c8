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
