"""Which pair to ask next: values against plain integrals, batches, pools, and errors."""

import itertools
import math

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, make_reward

import fspo_jax
from fspo_jax import asking
from fspo_jax.asking import MOST_PAIRS, gain_of_best, greedy, information
from fspo_jax.errors import DataError, FspoError, LimitError
from fspo_jax.reward.engines.contract import MarginPosterior
from fspo_jax.types import Preference

POOL = [("a question", CANDIDATES), ("another", CANDIDATES[:3])]


@pytest.fixture(scope="module")
def rewards():
    return {
        kind: make_reward(kind) for kind in ("preferential_gp", "three_level_gp", "population", "mixture")
    }


@pytest.fixture
def user(rewards):
    return rewards["three_level_gp"].adapt(PAIRS)


def texts_of(question):
    return question.prompt, frozenset((question.a, question.b))


def averaged(function, mean, deviation):
    """Mean of a function of a Gaussian variable, on a fine grid."""
    grid = np.linspace(-9, 9, 200_001)
    density = np.exp(-0.5 * grid**2)
    return (function(mean + deviation * grid) * density).sum() / density.sum()


@pytest.mark.parametrize("mean", [0.0, 0.7, -3.0, 25.0])
@pytest.mark.parametrize("deviation", [0.0, 0.1, 1.0, 4.0, 10.0])
def test_values_are_those_of_plain_integrals(mean, deviation):
    def entropy(p):
        p = np.clip(p, 1e-15, 1 - 1e-15)
        return -p * np.log(p) - (1 - p) * np.log(1 - p)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    given = np.array([mean]), np.array([deviation**2])
    told = entropy(averaged(sigmoid, mean, deviation)) - averaged(
        lambda m: entropy(sigmoid(m)), mean, deviation
    )
    assert information(*given)[0] == pytest.approx(told, abs=1e-4)
    gained = averaged(lambda m: np.maximum(m, 0), mean, deviation) - max(mean, 0)
    assert gain_of_best(*given)[0] == pytest.approx(gained, abs=1e-4)


@pytest.mark.parametrize("kind", ["preferential_gp", "three_level_gp", "mixture"])
def test_posterior_of_margins_is_that_of_score_and_uncertainty(rewards, kind):
    user = rewards[kind].adapt(PAIRS)
    pairs = [Preference("q", a, b) for a, b in itertools.pairwise(CANDIDATES)]
    posterior = user.base.scoring.margin_posterior(user.state, pairs)
    for i, pair in enumerate(pairs):
        scores, deviations = user.score_with_uncertainty("q", [pair.chosen, pair.rejected])
        np.testing.assert_allclose(posterior.rewards[i], scores, rtol=1e-4, atol=1e-5)
        # Each of two candidates is half a margin from their mean.
        assert posterior.variance[i] == pytest.approx(4 * deviations[0] ** 2, rel=1e-3, abs=1e-5)
        assert posterior.covariance(i)[i] == pytest.approx(posterior.variance[i], rel=1e-3, abs=1e-5)
    # The margins of (a, b) and (b, c) add up to that of (a, c).
    together = user.base.scoring.margin_posterior(user.state, [Preference("q", *CANDIDATES[:3:2])]).variance[
        0
    ]
    parts = posterior.variance[:2].sum() + 2 * posterior.covariance(0)[1]
    assert parts == pytest.approx(together, rel=1e-3, abs=1e-5)


def test_bald_asks_first_what_is_worth_most_and_the_value_is_that_of_its_margin(user):
    first, *rest = fspo_jax.next_pairs(user, POOL[:1], 100)
    assert len(rest) + 1 == math.comb(len(CANDIDATES), 2)
    scores, deviations = user.score_with_uncertainty(first.prompt, [first.a, first.b])
    value = information(scores[:1] - scores[1:], 4 * deviations[:1] ** 2)
    assert first.value == pytest.approx(value[0], rel=1e-3)
    assert all(first.value >= other.value for other in rest)


def test_eubo_prefers_pairs_with_a_response_that_may_be_the_best(user):
    prompt, candidates = POOL[0]
    question = fspo_jax.next_pair(user, POOL[:1], by="eubo")
    scores = dict(zip(candidates, user.score(prompt, candidates), strict=True))

    def expected_best(a, b):
        deviation = 2 * user.uncertainty(prompt, [a, b])[:1].astype(float)
        return max(scores[a], scores[b]) + gain_of_best(np.array([scores[a] - scores[b]]), deviation**2)[0]

    found = {(a, b): expected_best(a, b) for i, a in enumerate(candidates) for b in candidates[:i]}
    best = max(found, key=found.get)
    assert {question.a, question.b} == set(best)
    assert question.value == pytest.approx(found[best] - max(scores.values()), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("by", ["bald", "eubo", "random"])
def test_a_batch_is_of_distinct_pairs_and_the_pool_runs_out(user, by):
    pool = [*POOL, ("a question", CANDIDATES[::-1]), Preference("a question", *CANDIDATES[1::-1])]
    found = fspo_jax.next_pairs(user, pool, 1000, by=by)
    expected = math.comb(len(CANDIDATES), 2) + math.comb(3, 2)
    assert len({texts_of(question) for question in found}) == len(found) == expected
    assert fspo_jax.next_pair(user, pool, by=by)[:3] == found[0][:3]


@pytest.mark.parametrize("below", [None, np.zeros(3)])
def test_a_batch_does_not_ask_the_same_thing_twice(below):
    # The first two margins are the same; alone each is worth more than the third.
    covariance = np.array([[4.0, 4.0, 0.0], [4.0, 4.0, 0.0], [0.0, 0.0, 3.0]])
    posterior = MarginPosterior(np.zeros((3, 2)), covariance.diagonal(), lambda i: covariance[i])
    found = greedy(np.zeros(3), posterior, below, 3)
    assert [place for place, _ in found] == [0, 2, 1]
    # A label is a measurement whose precision is the mean of p (1 - p): 4 / (1 + 4 precision) is left of 4.
    precision = averaged(lambda m: 0.25 / np.cosh(m / 2) ** 2, 0.0, 2.0)
    left = np.array([4 / (1 + 4 * precision)])
    value = (information if below is None else gain_of_best)(np.zeros(1), left)[0]
    assert found[2][1] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("by", ["bald", "eubo", "random"])
def test_what_is_labelled_is_not_asked_again_whichever_response_won(user, by):
    question = fspo_jax.next_pair(user, POOL, by=by)
    for preferred in ("a", "b"):
        after = user.update([question.answered(preferred)])
        assert texts_of(question) not in map(texts_of, fspo_jax.next_pairs(after, POOL, 1000, by=by))
    with pytest.raises(DataError, match="no pair of the pool is left"):
        fspo_jax.next_pair(user, PAIRS, by=by)


def test_the_labels_of_a_pool_are_not_read(user):
    pool = [Preference("q", *CANDIDATES[i : i + 2]) for i in range(8)]
    turned = [Preference("q", pair.rejected, pair.chosen) for pair in pool]
    found, other = (fspo_jax.next_pairs(user, pairs, 8) for pairs in (pool, turned))
    assert [texts_of(question) for question in found] == [texts_of(question) for question in other]
    assert [question.value for question in found] == pytest.approx([question.value for question in other])


@pytest.mark.slow
def test_it_works_inside_a_community(rewards):
    reward = rewards["three_level_gp"]
    people = [[Preference(f"{p} {i}", CANDIDATES[i], CANDIDATES[i + 1]) for i in range(8)] for p in range(6)]
    inside = reward.for_community(people)
    question = fspo_jax.next_pair(inside.adapt(PAIRS), POOL)
    assert question.value > 0 and texts_of(question) != texts_of(
        fspo_jax.next_pair(inside.adapt([question.answered("a")]), POOL)
    )


def test_rewards_without_uncertainty_are_asked_at_random_and_say_so(rewards):
    user = rewards["population"].adapt(PAIRS)
    with pytest.raises(FspoError, match=r"no uncertainty.*by='random'"):
        fspo_jax.next_pair(user, POOL)
    seeds = {texts_of(fspo_jax.next_pair(user, POOL, by="random", seed=seed)) for seed in range(20)}
    assert len(seeds) > 5
    assert math.isnan(fspo_jax.next_pair(user, POOL, by="random").value)


@pytest.mark.parametrize(
    ("pool", "options", "error", "message"),
    [
        ("a text", {}, DataError, "pool must be a list of Preference, or of"),
        ([("q", ["a", "b"], 3)], {}, DataError, r"pool\[0\] must be a Preference or"),
        ([("q", "a text")], {}, DataError, r"pool\[0\]: candidates must be"),
        ([("q", ["a", ""])], {}, DataError, r"pool\[0\]: rejected is empty"),
        ([(3, ["a", "b"])], {}, DataError, r"pool\[0\]: prompt must be"),
        (POOL, {"by": "best"}, DataError, "by is 'best'; it must be one of 'bald', 'eubo', 'random'"),
        (POOL, {"seed": -1}, DataError, "seed must be"),
        ([("q", list(map(str, range(150))))], {}, LimitError, f"more than {MOST_PAIRS:,} pairs"),
        ([], {}, DataError, "no pair of the pool is left"),
        ([("q", ["a", "a"])], {}, DataError, "no pair of the pool is left"),
    ],
)
def test_what_cannot_be_asked_is_a_plain_error(user, pool, options, error, message):
    with pytest.raises(error, match=message):
        fspo_jax.next_pair(user, pool, **options)


def test_other_wrong_arguments_are_plain_errors(user):
    with pytest.raises(DataError, match="count must be"):
        fspo_jax.next_pairs(user, POOL, 0)
    with pytest.raises(DataError, match="Adapt it first"):
        fspo_jax.next_pairs(user.base, POOL, 1)
    with pytest.raises(DataError, match="must be 'a' or 'b'"):
        fspo_jax.next_pair(user, POOL).answered("c")


def test_a_batch_is_about_new_prompts_unless_they_tell_much_less(user, monkeypatch):
    pool = [("one", CANDIDATES), ("two", CANDIDATES[:3]), ("three", CANDIDATES[:2])]
    plain = fspo_jax.next_pairs(user, pool, 3)
    monkeypatch.setattr(asking, "NEW_PROMPT", 0.0)
    batch = fspo_jax.next_pairs(user, pool, 4, seen=())
    assert batch[0] == plain[0] and {question.prompt for question in batch[:3]} == {"one", "two", "three"}
    first = fspo_jax.next_pair(user, pool, seen={"one", "two"})
    assert first.prompt == "three"
    assert fspo_jax.next_pair(user, pool, seen=["one", "two", "three"]) == plain[0]
    monkeypatch.setattr(asking, "NEW_PROMPT", 1.0)
    assert fspo_jax.next_pair(user, pool, seen={plain[0].prompt}) == plain[0]
    for by in ("eubo", "random"):  # these do not read it
        given = {"by": by, "seed": 3}
        found = fspo_jax.next_pairs(user, pool, 3, seen={"one"}, **given)
        assert list(map(texts_of, found)) == list(map(texts_of, fspo_jax.next_pairs(user, pool, 3, **given)))
    for wrong in ("one", [1], 5):
        with pytest.raises(DataError, match="seen"):
            fspo_jax.next_pair(user, pool, seen=wrong)
