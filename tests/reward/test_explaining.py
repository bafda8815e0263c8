"""What moves a score, what is believed of a person, and which labels contradict each other."""

import dataclasses
import functools

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, WordedFeatures, make_reward, make_worded_reward

from fspo_jax.errors import DataError, FspoError
from fspo_jax.models.features.style import FEATURES, WORDS, Style
from fspo_jax.reward import PersonalizedReward
from fspo_jax.reward.explaining import Belief
from fspo_jax.types import Preference

DRAFTS = ["One.", "Two sentences are here. Maybe they are long?", "- a list\n- of three\n- lines", "No! 🙂"]


@functools.cache
def reward_of(kind: str) -> PersonalizedReward:
    return make_worded_reward() if kind == "worded" else make_reward(kind)


def test_every_style_feature_has_words():
    assert tuple(WORDS) == tuple(FEATURES) == tuple(Style.columns)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("worded", {}),
        ("worded", {"half_life": 3.0}),
        ("worded", {"half_life": 3.0, "days": [0.0, 1.0, 5.0, 6.0, 7.0]}),
        ("preferential_gp", {}),
        ("population", {}),
        ("mixture", {}),
    ],
)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_what_a_pair_pulls_is_the_score_minus_the_score_without_it(kind, options, temperature):
    user = dataclasses.replace(reward_of(kind), temperature=temperature).adapt(PAIRS, **options)
    scores = user.score("q", DRAFTS)
    found = user.explain("q", DRAFTS)
    np.testing.assert_allclose([line.above_mean for line in found], scores - scores.mean(), atol=1e-5)
    assert [line.text for line in found] == DRAFTS
    for place, pair in enumerate(PAIRS):
        without = user.without([pair]).score("q", DRAFTS)
        pulled = (scores - scores.mean()) - (without - without.mean())
        np.testing.assert_allclose([line.pulls[place] for line in found], pulled, atol=1e-5)


def test_the_parts_of_a_score_add_up_and_exist_where_rewards_are_linear():
    for line in reward_of("worded").adapt(PAIRS).explain("q", DRAFTS):
        assert set(line.blocks) == {"sentence", "style"} and set(line.columns) == {"style"}
        assert sum(line.blocks.values()) == pytest.approx(line.above_mean, abs=1e-4)
        assert sum(line.columns["style"].values()) == pytest.approx(line.blocks["style"], abs=1e-5)
    assert reward_of("preferential_gp").adapt(PAIRS).explain("q", DRAFTS)[0].blocks == {}


def test_the_worth_of_a_column_is_the_slope_of_the_reward_with_its_deviation():
    scoring = reward_of("worded").scoring
    state = scoring.state(scoring.read(PAIRS))
    taste = scoring.taste(state)
    start = np.random.default_rng(0).normal(size=scoring.featurizer.dimension).astype(np.float32)
    for column in (0, 9, 10, 20, 36):
        rows = np.stack([start, start])
        rows[0, column] += 1.0
        rows = scoring.scorer.represent(scoring.params, rows)
        rewards = scoring.scorer.score(scoring.params, state, rows)
        variance = scoring.scorer.variance(scoring.params, state, rows[:1], rows[1:])
        assert taste.weights[column] == pytest.approx(float(rewards[0] - rewards[1]), abs=1e-4)
        assert taste.deviations[column] == pytest.approx(float(variance[0]) ** 0.5, rel=1e-2)


POOL = [("q", DRAFTS), Preference("p", "Yes! 🙂", "No, never; it is not so."), ("alone", ["One."])]


def test_a_belief_over_a_pool_is_the_slope_of_its_scores():
    user = dataclasses.replace(reward_of("worded"), temperature=2.0).adapt(PAIRS)
    groups = [("q", DRAFTS), ("p", ["Yes! 🙂", "No, never; it is not so."])]
    scores = np.concatenate([user.score(*group) - user.score(*group).mean() for group in groups])
    values = [Style().values(texts) for _, texts in groups]
    columns = np.concatenate([part - part.mean(0) for part in values])
    found = {belief.column: belief for belief in user.beliefs(POOL)}
    sizes = (columns**2).sum(0)
    assert set(found) == {name for name, size in zip(WORDS, sizes, strict=True) if size > 1e-5}
    for name, column, size in zip(WORDS, columns.T, sizes, strict=True):
        if name in found:
            assert found[name].effect == pytest.approx(column @ scores / size, abs=1e-3)
    general = {belief.column: belief.effect for belief in user.base.adapt().beliefs(POOL)}
    assert {name: belief.usual for name, belief in found.items()} == pytest.approx(general, abs=1e-5)


def test_the_deviation_of_a_slope_between_two_responses_is_that_of_their_margin():
    user = reward_of("worded").adapt(PAIRS)
    pair = Preference("q", DRAFTS[1], DRAFTS[2])
    posterior = user.base.scoring.margin_posterior(user.state, [pair])
    first, second = Style().values(DRAFTS[1:3])
    for belief in user.beliefs([pair]):
        difference = (first - second)[list(WORDS).index(belief.column)]
        expected = posterior.variance[0] ** 0.5 / abs(difference)
        assert belief.deviation == pytest.approx(expected, rel=1e-2)


def test_a_belief_about_an_own_property_is_the_slope_of_the_scores_on_it():
    user = dataclasses.replace(reward_of("worded"), temperature=2.0).adapt(PAIRS)
    given = {"a's": lambda prompt, text: text.count("a"), "the same everywhere": lambda prompt, text: 1}
    groups = [("q", DRAFTS), ("p", ["Yes! 🙂", "No, never; it is not so."])]
    scores = np.concatenate([user.score(*group) - user.score(*group).mean() for group in groups])
    counts = [np.array([text.count("a") for text in texts], float) for _, texts in groups]
    column = np.concatenate([part - part.mean() for part in counts])
    found = user.beliefs(POOL, given)
    (own,) = [belief for belief in found if belief.block == "property"]
    assert (own.column, own.words) == ("a's", "a's")
    assert own.effect == pytest.approx(column @ scores / (column @ column), abs=1e-3)
    assert [belief for belief in found if belief != own] == user.beliefs(POOL)
    # A column of the features under another name is believed in the same way.
    place = list(WORDS).index("log_characters")
    again = user.beliefs(POOL, {"long": lambda _, text: Style().values([text])[0, place]})
    known = {belief.column: belief for belief in again}
    for number in ("effect", "deviation", "usual"):
        expected = getattr(known["log_characters"], number)
        assert getattr(known["long"], number) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_a_property_may_be_true_or_false_and_in_any_unit():
    def believed(function):
        (own,) = [one for one in user.beliefs(POOL, {"a": function}) if one.block == "property"]
        return own

    user = reward_of("worded").adapt(PAIRS)
    assert believed(lambda _, text: "a" in text) == believed(lambda _, text: float("a" in text))
    plain, small = believed(lambda _, text: len(text)), believed(lambda _, text: 1e-6 * len(text))
    assert small.effect == pytest.approx(1e6 * plain.effect, rel=1e-3)


@pytest.mark.parametrize(
    ("pool", "properties", "words"),
    [
        (None, {"size": len}, "give a pool"),
        (POOL, {"size": 3}, r"properties\['size'\].*function of prompt and response"),
        (POOL, {"size": lambda prompt, text: "long"}, r"properties\['size'\].*the value"),
        (
            POOL,
            {"size": lambda prompt, text: float("nan")},
            r"properties\['size'\].*the value for 'One.' must",
        ),
        ([("q", ["one"])], {"size": lambda prompt, text: 1}, "no named column and no property differs"),
        (
            POOL,
            {"size": lambda prompt, text: 1e300 * len(text)},
            r"properties\['size'\].*between -1e\+09 and 1e\+09",
        ),
        (POOL, {" ": len}, r"properties\[' '\]: the name is empty"),
        (POOL, {3: len}, r"properties\[3\]: the name must be a string"),
        (POOL, [("size", len)], "properties must be functions by their names"),
    ],
)
def test_a_property_that_gives_no_number_is_refused_by_its_name(pool, properties, words):
    with pytest.raises(DataError, match=words):
        reward_of("worded").adapt(PAIRS).beliefs(pool, properties)


def test_a_property_that_fails_says_for_which_text_before_the_pool_is_read(monkeypatch: pytest.MonkeyPatch):
    user = reward_of("worded").adapt(PAIRS)
    monkeypatch.setattr(WordedFeatures, "__call__", None)
    with pytest.raises(ZeroDivisionError) as raised:
        user.beliefs(POOL, {"size": lambda prompt, text: 1 / (len(text) - len(DRAFTS[1]))})
    (note,) = raised.value.__notes__
    assert note.startswith("Raised by properties['size'] for ") and DRAFTS[1][:10] in note


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ("q", "pool must be"),
        (["q"], r"pool\[0\]"),
        ([("q", ["a"]), ("q", "ab")], r"pool\[1\]"),
        ([("q", ["a", 1])], r"pool\[0\]"),
        ([], "no named column and no property differs"),
        ([("q", ["a", "a"]), ("p", [])], "no named column and no property differs"),
    ],
)
def test_a_pool_that_says_nothing_is_refused(pool, words):
    with pytest.raises(DataError, match=words):
        reward_of("worded").adapt(PAIRS).beliefs(pool)


PLANTED = {
    "log_characters": (
        "Yes, and there is a lot more to say about it, so I will go on for quite a while.",
        "Yes, I do.",
    ),
    "emoji": ("A fine day 🙂🙂🙂 for it", "A fine day for it now"),
    "bullets": ("- one\n- two\n- three\n- four", "one\ntwo\nthree\nfour"),
    "exclamations": ("What a day! So good! Yes!", "What a day. So good. Yes."),
}


@pytest.mark.parametrize("column", PLANTED)
@pytest.mark.parametrize("likes", [True, False])
def test_a_planted_taste_is_believed_with_its_sign(column, likes):
    more, less = PLANTED[column]
    texts = [(f"{more} {i}", f"{less} {i}") for i in range(8)]
    pairs = [Preference(f"q{i}", *(two if likes else two[::-1])) for i, two in enumerate(texts)]
    found = {belief.column: belief for belief in reward_of("worded").adapt(pairs).beliefs()}
    assert set(found) == set(WORDS) and found[column].words == WORDS[column]
    assert (found[column].effect > found[column].usual) == likes
    nobody = {belief.column: belief for belief in reward_of("worded").adapt().beliefs()}
    assert found[column].usual == nobody[column].effect == nobody[column].usual
    sizes = [abs(belief.effect) for belief in found.values()]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("effect", "deviation", "said"),
    [
        (0.9, 0.3, "likes emoji (+0.90 ± 0.30 nats; people in general +0.20)"),
        (-0.3, 0.3, "probably dislikes emoji (-0.30 ± 0.30 nats"),
        (0.1, 0.3, "may like emoji (+0.10 ± 0.30"),
        (-0.1, 0.0, "dislikes emoji"),
    ],
)
def test_a_belief_says_how_sure_it_is(effect, deviation, said):
    belief = Belief("style", "emoji", "emoji", effect, deviation, 0.2)
    assert str(belief).startswith(said) and 0.5 <= belief.certainty <= 1.0


def test_a_label_against_the_others_is_found_with_the_pair_that_speaks_most_against_it():
    reward = reward_of("preferential_gp")
    first = max(
        PAIRS, key=lambda pair: reward.adapt().preference_probability(pair.prompt, pair.chosen, pair.rejected)
    )
    user = reward.adapt([first, *(pair for pair in PAIRS if pair is not first)])
    slip = Preference(first.prompt, first.rejected, first.chosen)
    found = {line.place: line for line in user.update([slip]).contradictions()}
    assert found[5].against == 0 and found[5].probability < 0.4
    assert 5 not in {line.place for line in user.contradictions()}
    worst = user.update([slip]).contradictions(1)
    assert len(worst) == 1 and worst[0].probability == min(line.probability for line in found.values())


@pytest.mark.parametrize("kind", ["preferential_gp", "worded"])
def test_a_probability_of_a_contradiction_is_that_of_the_reward_without_the_pair(kind):
    pairs = [*PAIRS, Preference(PAIRS[0].prompt, PAIRS[0].rejected, PAIRS[0].chosen)]
    user = reward_of(kind).adapt(pairs)
    for line in user.contradictions():
        pair = pairs[line.place]
        expected = user.without([pair]).preference_probability(pair.prompt, pair.chosen, pair.rejected)
        assert line.probability == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_the_oldest_of_many_pairs_are_folded_and_pull_together():
    pairs = [Preference(f"q{i}", f"a{i}", f"b{i}") for i in range(70)]
    user = reward_of("preferential_gp").adapt(pairs)
    pulls = np.array(user.explain("q", CANDIDATES)[0].pulls)
    assert len(pulls) == 70 and np.isnan(pulls[:32]).all() and np.isfinite(pulls[32:]).all()
    without = user.without(pairs[40:41]).score("q", CANDIDATES)
    scores = user.score("q", CANDIDATES)
    assert pulls[40] == pytest.approx((scores - scores.mean() - without + without.mean())[0], abs=1e-4)
    assert all(line.place >= 32 and line.against >= 32 for line in user.contradictions(1))


def test_what_has_no_explanation_is_a_plain_error():
    for kind in ("preferential_gp", "population", "three_level_gp"):  # the last has columns without words
        with pytest.raises(FspoError, match="no beliefs that can be said in words"):
            reward_of(kind).adapt(PAIRS).beliefs()
    with pytest.raises(DataError, match="two or more"):
        reward_of("worded").adapt(PAIRS).explain("q", DRAFTS[:1])
    with pytest.raises(DataError, match="most must be"):
        reward_of("worded").adapt(PAIRS).contradictions(0)
