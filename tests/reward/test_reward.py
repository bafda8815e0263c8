import copy
import dataclasses
import pickle
import threading
import zlib
from types import MappingProxyType

import jax
import numpy as np
import pytest

from fspo_jax import rerank
from fspo_jax.config import config_from_dict
from fspo_jax.errors import CheckpointError, DataError, FspoError, LimitError
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import MAX_TEXT_CHARACTERS, Preference

WIDTH = 10


class HashedFeatures:
    """A featurizer without an encoder: numbers drawn from a hash of the text."""

    blocks = MappingProxyType({"hashed": WIDTH})
    dimension = WIDTH
    fingerprint = "hashed"

    def warm_up(self) -> None:
        pass

    def __call__(self, prompts, responses):
        rows = [
            np.random.default_rng(zlib.crc32(f"{render_prompt(p)}\n{r}".encode())).normal(size=WIDTH)
            for p, r in zip(prompts, responses, strict=True)
        ]
        return np.array(rows, np.float32)


def make_reward(kind="preferential_gp", seed=0, max_context=8) -> PersonalizedReward:
    config = config_from_dict(
        {
            "seed": 0,
            "steps": 10,
            "steps_per_dispatch": 10,
            "evaluate_every": 10,
            "objective": "bradley_terry",
            "data": {"sources": [{"kind": "personas", "seed": 0, "personas": 10, "prompts": 10}]},
            "scorer": {"kind": kind},
            "optimizer": {"learning_rate": 1e-3, "warmup_steps": 1},
            "episodes": {"max_context": max_context},
        }
    )
    params = make_scorer(config.scorer, {"hashed": WIDTH}).init(jax.random.key(seed))
    return PersonalizedReward.from_parts(config, params, HashedFeatures())


@pytest.fixture(scope="module")
def reward():
    return make_reward()


PAIRS = [Preference(f"question {i}", f"good {i}", f"bad {i}") for i in range(5)]
CANDIDATES = [f"candidate {i}" for i in range(9)]


def test_score_candidates_have_the_same_score_alone_and_together(reward):
    ana = reward.adapt(PAIRS)
    together = ana.score("p", CANDIDATES)
    alone = np.array([ana.score("p", [text])[0] for text in CANDIDATES])
    assert together.shape == (9,) and together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)


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


@pytest.mark.parametrize("top_k", [0, -1, 2.5, True])
def test_rerank_bad_top_k_raises(reward, top_k):
    with pytest.raises(DataError, match="top_k must be a positive integer"):
        rerank(reward.adapt(), "p", CANDIDATES, top_k=top_k)


def test_score_conversation_prompt_is_read(reward):
    ana = reward.adapt(PAIRS)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    assert not np.array_equal(ana.score(turns, CANDIDATES), ana.score(turns[:1], CANDIDATES))


@pytest.mark.parametrize(
    ("prompt", "candidates", "error", "message"),
    [
        ("p", "one string", DataError, "candidates must be a list"),
        ("p", ["fine", 3], DataError, r"candidates\[1\] must be a string, not int"),
        ("p", ["\ud800"], DataError, r"candidates\[0\] has a lone surrogate at character 0"),
        ("\udfff", ["x"], DataError, "prompt has a lone surrogate"),
        (None, ["x"], DataError, "prompt must be a string or a non-empty list"),
        ([], ["x"], DataError, "prompt must be a string or a non-empty list"),
        ([{"role": "user"}], ["x"], DataError, r"prompt\[0\] must have the keys 'role' and 'content'"),
        ("p", ["x" * 100_000], LimitError, "100,000 characters; at most 50,000"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), ["x"], LimitError, "prompt has 50,001 characters"),
    ],
)
def test_score_bad_input_raises(reward, prompt, candidates, error, message):
    with pytest.raises(error, match=message):
        reward.adapt(PAIRS).score(prompt, candidates)


@pytest.mark.parametrize("text", ["", " ", "\x00\x07\x1b", "\u202e", "x" * MAX_TEXT_CHARACTERS])
def test_score_odd_but_valid_candidates_are_scored(reward, text):
    assert np.isfinite(reward.adapt(PAIRS).score("", [text, "other"])).all()


def test_adapt_more_pairs_than_the_limit_raises(reward):
    many = [Preference("p", f"a{i}", f"b{i}") for i in range(9)]
    with pytest.raises(LimitError, match=r"context has 9 preferences.*at most 8"):
        reward.adapt(many)
    with pytest.raises(LimitError, match="context has 9 preferences"):
        reward.adapt(many[:8]).update(many[8:])


def test_adapt_what_is_no_preference_raises(reward):
    with pytest.raises(DataError, match=r"preferences\[0\] must be a Preference, not tuple"):
        reward.adapt([("p", "a", "b")])


def test_adapt_contradicting_pairs_cancel(reward):
    both = [Preference("p", "a", "b"), Preference("p", "b", "a")]
    torn, anybody = reward.adapt(both), reward.adapt()
    personal = torn.score("p", CANDIDATES) - anybody.score("p", CANDIDATES)
    sided = reward.adapt(both[:1]).score("p", CANDIDATES) - anybody.score("p", CANDIDATES)
    assert np.abs(personal).max() < np.abs(sided).max()


def test_user_save_and_load_keep_the_scores_and_hold_no_text(reward, tmp_path):
    ana = reward.adapt([Preference("a secret prompt", "a secret answer", "another answer"), *PAIRS])
    ana.save(tmp_path / "users" / "ana")
    again = UserReward.load(tmp_path / "users" / "ana", reward)
    np.testing.assert_array_equal(ana.score("p", CANDIDATES), again.score("p", CANDIDATES))
    assert again.shots == 6
    saved = b"".join(p.read_bytes() for p in (tmp_path / "users").rglob("*") if p.is_file())
    assert b"secret" not in saved and b"pickle" not in saved


def test_user_load_another_base_raises(reward, tmp_path):
    reward.adapt(PAIRS).save(tmp_path / "ana")
    with pytest.raises(CheckpointError, match=r"another|other"):
        UserReward.load(tmp_path / "ana", make_reward(seed=1))


def test_from_parts_params_of_another_shape_raise(reward):
    smaller = make_scorer(reward.config.scorer, {"hashed": WIDTH - 1}).init(jax.random.key(0))
    with pytest.raises(CheckpointError, match="do not fit a 'preferential_gp' scorer on 10 features"):
        PersonalizedReward.from_parts(reward.config, smaller, HashedFeatures())


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


def test_score_compiles_once_a_bucket():
    reward = make_reward(seed=3)
    ana = reward.adapt(PAIRS)
    for count in (1, 3, 32, 33, 256, 257, 300):
        ana.score("p", [f"text {i}" for i in range(count)])
    assert reward.scoring._score._cache_size() == 3  # 32, 256 and 512
    for shots in range(6):
        reward.adapt(PAIRS[:shots])
    assert reward.scoring._encode_context._cache_size() == 2  # 4 and 8


def test_warm_up_compiles_all_that_adapt_and_score_need_up_to_256_candidates():
    reward = make_reward(seed=4, max_context=20)
    reward.warm_up()
    programs = reward.scoring._encode_context, reward.scoring._score
    compiled = [program._cache_size() for program in programs]
    assert compiled == [4, 8]  # contexts of 4, 8, 16 and 32; each with 32 and 256 candidates
    many = [Preference("p", f"a{i}", f"b{i}") for i in range(20)]
    for shots in range(21):
        ana = reward.adapt(many[:shots])
        for count in (1, 32, 33, 256):
            ana.score("p", [f"text {i}" for i in range(count)])
    assert [program._cache_size() for program in programs] == compiled


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


def test_calibrating_on_nobody_or_too_many_pairs_raises(reward):
    for nobody in ([], [[], []]):
        with pytest.raises(DataError, match="there is no labelled pair"):
            reward.calibrated(nobody)
    with pytest.raises(LimitError, match="context has 10 preferences"):
        reward.calibrated([PAIRS * 2])
    with pytest.raises(DataError, match=r"people\[0\] must be a list"):
        reward.calibrated(PAIRS)


def test_calibrating_a_reward_that_is_not_finite_raises(reward):
    params = {**reward.scoring.params, "log_correction": np.full(2, np.nan, np.float32)}
    broken = PersonalizedReward.from_parts(reward.config, params, HashedFeatures())
    with pytest.raises(DataError, match="not a finite number"):
        broken.calibrated([PAIRS])


@pytest.mark.parametrize(
    "candidates",
    [
        tuple(CANDIDATES),
        iter(CANDIDATES),
        (text for text in CANDIDATES),
        np.array(CANDIDATES),
        np.array(CANDIDATES, object),
        dict(enumerate(CANDIDATES)).values(),
    ],
    ids=["tuple", "iterator", "generator", "array", "array of objects", "values"],
)
def test_candidates_in_any_order_that_gives_strings_are_scored_by_position(reward, candidates):
    ranking = rerank(reward.adapt(PAIRS), "p", candidates)
    assert ranking == rerank(reward.adapt(PAIRS), "p", CANDIDATES)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (None, "not NoneType"),
        ({"a": 1}, "not dict"),
        ({"a", "b"}, "not set"),
        (b"a", "not bytes"),
        (3, "not int"),
        (np.array([["a", "b"]]), "not a table"),
        ([["a"]], r"candidates\[0\] must be a string, not list"),
    ],
)
def test_candidates_without_an_order_of_strings_raise(reward, candidates, message):
    for call in (reward.adapt().score, reward.adapt().uncertainty, lambda *x: rerank(reward.adapt(), *x)):
        with pytest.raises(DataError, match=message):
            call("p", candidates)


def test_rerank_gives_plain_numbers_and_texts(reward):
    for line in rerank(reward.adapt(PAIRS), "p", CANDIDATES):
        assert [type(value) for value in line] == [int, int, float, float, str]


def test_rerank_with_a_reward_of_no_user_says_to_adapt_it(reward):
    with pytest.raises(DataError, match=r"must be a UserReward, not a PersonalizedReward\. Adapt it first"):
        rerank(reward, "p", CANDIDATES)
    with pytest.raises(DataError, match="must be a UserReward, not a str"):
        rerank("ana", "p", CANDIDATES)


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        (PAIRS[0], "not a single one. Put it into a list"),
        (None, "not NoneType. For no pairs give an empty list"),
        ("ana", "not str"),
        ({}, "not dict"),
        (["a"], r"preferences\[0\] must be a Preference, not str"),
    ],
)
def test_adapt_and_update_with_no_list_of_preferences_say_what_is_wanted(reward, preferences, message):
    for call in (reward.adapt, reward.adapt().update):
        with pytest.raises(DataError, match=message):
            call(preferences)


def test_adapt_takes_pairs_from_a_generator(reward):
    assert reward.adapt(pair for pair in PAIRS).shots == len(PAIRS)


def test_calibrated_with_no_lists_of_preferences_says_what_is_wanted(reward):
    for people, message in (
        (None, "one list of preferences per person, not NoneType"),
        (["a"], r"people\[0\] must be a list of Preference, not str"),
        ([[("p", "a", "b")]], r"people\[0\]\[0\] must be a Preference, not tuple"),
    ):
        with pytest.raises(DataError, match=message):
            reward.calibrated(people)


def test_repr_is_one_line_with_what_matters(reward):
    assert repr(reward) == (
        f"PersonalizedReward(preferential_gp, at most 8 pairs per user, fingerprint {reward.fingerprint[:8]})"
    )
    assert "temperature 2," in repr(dataclasses.replace(reward, temperature=2.0))
    assert repr(reward.adapt(PAIRS)) == f"UserReward(5 of at most 8 pairs, base {reward!r})"


def test_copies_are_the_same_object_and_pickle_says_to_save(reward):
    ana = reward.adapt(PAIRS)
    for value, way in ((reward, r"reward\.save\(path\)"), (ana, r"user\.save\(path\)")):
        assert copy.copy(value) is value and copy.deepcopy([value])[0] is value
        with pytest.raises(FspoError, match=f"cannot be pickled. Write it with {way}"):
            pickle.dumps(value)


def test_save_replaces_a_user_only_when_told(reward, tmp_path):
    reward.adapt(PAIRS[:1]).save(tmp_path / "ana")
    before = (tmp_path / "ana").read_bytes()
    with pytest.raises(CheckpointError, match=r"ana: already exists.*overwrite=True"):
        reward.adapt(PAIRS).save(tmp_path / "ana")
    assert (tmp_path / "ana").read_bytes() == before
    reward.adapt(PAIRS).save(tmp_path / "ana", overwrite=True)
    assert UserReward.load(tmp_path / "ana", reward).shots == 5
    (tmp_path / "letter").write_text("Dear Ana,")
    with pytest.raises(CheckpointError):
        reward.adapt(PAIRS).save(tmp_path / "letter", overwrite=True)


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
