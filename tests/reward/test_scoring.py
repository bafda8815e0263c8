"""Scores, margins and probabilities of a user, and how they follow from the labelled pairs."""

import dataclasses
import threading

import jax
import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, WIDTH, HashedFeatures, make_reward

from fspo_jax.arguments import MAX_TEXT_CHARACTERS
from fspo_jax.errors import CheckpointError, FspoError
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import Preference


def test_score_candidates_have_the_same_score_alone_and_together(reward):
    ana = reward.adapt(PAIRS)
    together = ana.score("p", CANDIDATES)
    alone = np.array([ana.score("p", [text])[0] for text in CANDIDATES])
    assert together.shape == (9,) and together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_a_user_gives_back_can_be_changed_but_the_user_cannot(reward):
    ana = reward.adapt(PAIRS)
    before = ana.score("p", CANDIDATES)
    for values in ana.score_with_uncertainty("p", CANDIDATES):
        values.sort()
        values[:] = 0.0
    for user in (ana, ana.update(PAIRS[:1])):
        with pytest.raises(ValueError, match="read-only"):
            user.context.features[:] = 0.0
    np.testing.assert_array_equal(ana.score("p", CANDIDATES), before)


def test_adapt_chosen_texts_gain_and_rejected_ones_lose(reward):
    ana, anybody = reward.adapt(PAIRS), reward.adapt()
    for pair in PAIRS:
        both = [pair.chosen, pair.rejected]
        gain = ana.score(pair.prompt, both) - anybody.score(pair.prompt, both)
        assert gain[0] > gain[1]


def test_adapt_without_pairs_is_the_same_for_everybody(reward):
    np.testing.assert_array_equal(
        reward.adapt([]).score("p", CANDIDATES), reward.adapt().score("p", CANDIDATES)
    )
    assert reward.adapt().state is reward.adapt([], keep_texts=True).state  # computed once


@pytest.mark.parametrize("kind", ["preferential_gp", "set_transformer", "population"])
def test_update_equals_adapting_to_all_pairs_at_once(kind):
    reward = make_reward(kind)
    stepwise = reward.adapt(PAIRS[:1]).update(PAIRS[1:3]).update([]).update(PAIRS[3:])
    np.testing.assert_allclose(
        stepwise.score("p", CANDIDATES), reward.adapt(PAIRS).score("p", CANDIDATES), atol=1e-6
    )


def test_update_leaves_the_user_it_was_called_on_alone(reward):
    ana = reward.adapt(PAIRS[:2])
    before = ana.score("p", CANDIDATES)
    ana.update(PAIRS[2:])
    np.testing.assert_array_equal(before, ana.score("p", CANDIDATES))


def test_adapt_contradicting_pairs_cancel(reward):
    both = [Preference("p", "a", "b"), Preference("p", "b", "a")]
    torn, anybody = reward.adapt(both), reward.adapt()
    personal = torn.score("p", CANDIDATES) - anybody.score("p", CANDIDATES)
    sided = reward.adapt(both[:1]).score("p", CANDIDATES) - anybody.score("p", CANDIDATES)
    assert np.abs(personal).max() < np.abs(sided).max()


def test_uncertainty_shrinks_with_pairs_and_is_zero_for_one_candidate(reward):
    few, many = reward.adapt(), reward.adapt(PAIRS)
    assert (many.uncertainty("p", CANDIDATES) < few.uncertainty("p", CANDIDATES)).all()
    assert reward.adapt().uncertainty("p", CANDIDATES[:1])[0] < 1e-3


def test_uncertainty_scorer_without_posterior_gives_nan():
    assert np.isnan(make_reward("set_transformer").adapt(PAIRS).uncertainty("p", CANDIDATES)).all()


def test_preference_probability_agrees_with_scores_and_sums_to_one(reward):
    ana = reward.adapt(PAIRS)
    a, b = CANDIDATES[:2]
    forward, backward = ana.preference_probability("p", a, b), ana.preference_probability("p", b, a)
    scores = ana.score("p", [a, b])
    assert (forward > 0.5) == (scores[0] > scores[1])
    assert abs(forward + backward - 1) < 1e-6
    # The posterior pulls the probability towards one half against the plain sigmoid of the margin.
    assert abs(forward - 0.5) < abs(1 / (1 + np.exp(scores[1] - scores[0])) - 0.5)
    assert ana.preference_probability("p", a, a) == 0.5


def test_margins_equal_scores_of_the_user(reward):
    """The loss, the evaluation and serving go through one function."""
    mean, variance = reward.margins([PAIRS[:4], []], [PAIRS[4:], PAIRS[:2]])
    ana = reward.adapt(PAIRS[:4])
    scores = ana.score(PAIRS[4].prompt, [PAIRS[4].chosen, PAIRS[4].rejected])
    np.testing.assert_allclose(mean[0, 0], scores[0] - scores[1], atol=1e-5)
    probability = 1 / (1 + np.exp(-mean[0, 0] / np.sqrt(1 + np.pi * variance[0, 0] / 8)))
    pair = PAIRS[4]
    assert ana.preference_probability(pair.prompt, pair.chosen, pair.rejected) == pytest.approx(
        probability, abs=1e-5
    )


def test_score_conversation_prompt_is_read(reward):
    ana = reward.adapt(PAIRS)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    assert not np.array_equal(ana.score(turns, CANDIDATES), ana.score(turns[:1], CANDIDATES))


@pytest.mark.parametrize("text", ["", " ", "\x00\x07\x1b", "\u202e", "x" * MAX_TEXT_CHARACTERS])
def test_score_odd_but_valid_candidates_are_scored(reward, text):
    assert np.isfinite(reward.adapt(PAIRS).score("", [text, "other"])).all()


def test_user_reward_threads_share_it(reward):
    ana = reward.adapt(PAIRS)
    expected = ana.score("p", CANDIDATES)
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(ana.score("p", CANDIDATES) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80 and all(np.array_equal(result, expected) for result in results)


def test_from_parts_params_of_another_shape_raise(reward):
    smaller = make_scorer(reward.config.scorer, {"hashed": WIDTH - 1}).init(jax.random.key(0))
    with pytest.raises(CheckpointError, match="do not fit a 'preferential_gp' scorer on 10 features"):
        PersonalizedReward.from_parts(reward.config, smaller, HashedFeatures())


def test_repr_is_one_line_with_what_matters(reward):
    assert repr(reward) == (
        "PersonalizedReward(preferential_gp, trained on at most 8 pairs per user, fingerprint "
        f"{reward.fingerprint[:8]})"
    )
    assert "temperature 2," in repr(dataclasses.replace(reward, temperature=2.0))
    assert repr(reward.adapt(PAIRS)) == f"UserReward(5 pairs, base {reward!r})"


def test_a_reward_of_features_has_no_method_that_writes(reward):
    assert reward.writing is None
    assert not {"generate", "describe", "with_description"} & set(dir(reward.scoring))
    for call in (
        lambda user: user.generate("p"),
        lambda user: user.describe(),
        lambda user: user.with_description("warm"),
    ):
        with pytest.raises(FspoError, match="language model"):
            call(reward.adapt())
    with pytest.raises(FspoError, match="cannot read descriptions"):
        reward.margins([PAIRS[:2]], [PAIRS[2:]], ["warm"])
