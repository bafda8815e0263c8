"""What a user keeps: distinct pairs, texts, pairs beyond those read one by one, and pairs that fade."""

import unicodedata

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, WIDTH, HashedFeatures, make_reward

from fspo_jax.errors import CheckpointError, DataError, FspoError
from fspo_jax.reward import UserReward
from fspo_jax.reward.engines.distinct_pairs import distinct
from fspo_jax.types import Message, Preference

MANY = [Preference(f"p{i}", f"a{i}", f"b{i}") for i in range(200)]
WORD = "caf\u00e9\nand tea"
AGAIN = {
    "equal": Preference("p\n", WORD, "b"),
    "normal form": Preference("p\n", unicodedata.normalize("NFD", WORD), "b"),
    "line ends": Preference("p\r\n", WORD.replace("\n", "\r"), "b"),
}
OTHERS = {
    "reversed": Preference("p\n", "b", WORD),
    "prompt": Preference("q\n", WORD, "b"),
    "case": Preference("p\n", WORD.upper(), "b"),
    "blank": Preference("p\n", WORD + " ", "b"),
    "conversation": Preference([Message("user", "p\n")], WORD, "b"),
    "moved border": Preference("p", WORD, "b"),
}


def scores(user):
    return user.score("p", CANDIDATES)


@pytest.mark.parametrize("name", [*AGAIN, *OTHERS])
@pytest.mark.parametrize("texts", [False, True])
def test_a_pair_given_twice_counts_once_in_adapt_and_update(reward, name, texts):
    first, other = AGAIN["equal"], (AGAIN | OTHERS)[name]
    shots = 1 if name in AGAIN else 2
    together = reward.adapt([first, other], keep_texts=texts)
    stepwise = reward.adapt([first], keep_texts=texts).update([other, other])
    assert together.shots == stepwise.shots == shots
    np.testing.assert_array_equal(scores(together), scores(stepwise))
    mean, _ = reward.margins([[first, other, other]], [[first]])
    np.testing.assert_allclose(mean[0, 0], np.subtract(*together.score("p\n", [WORD, "b"])), atol=1e-5)


def test_a_repeated_pair_moves_to_the_end():
    assert distinct([PAIRS[0], PAIRS[1], PAIRS[0]]) == [PAIRS[1], PAIRS[0]]


def test_kept_texts_are_shown_saved_and_loaded(reward, tmp_path):
    talk = Preference([Message("user", "Hi"), Message("assistant", "Yes?")], "caf\u00e9", "b")
    ana = reward.adapt(PAIRS, keep_texts=True).update([talk, PAIRS[1]])
    assert ana.preferences == (PAIRS[0], *PAIRS[2:], talk, PAIRS[1])
    ana.save(tmp_path / "ana")
    assert (tmp_path / "ana").stat().st_mode & 0o777 == 0o600
    again = UserReward.load(tmp_path / "ana", reward)
    assert again.preferences == ana.preferences
    assert again.update(MANY[:1]).preferences[-1] == MANY[0]
    np.testing.assert_array_equal(scores(again), scores(ana))
    with pytest.raises(FspoError, match=r"keeps no texts.*keep_texts=True"):
        reward.adapt(PAIRS).preferences  # noqa: B018


@pytest.mark.parametrize("texts", [False, True])
def test_without_equals_never_having_given_the_pairs(reward, texts, tmp_path):
    ana = reward.adapt(PAIRS, keep_texts=texts)
    less = ana.without([PAIRS[3], PAIRS[0]])
    np.testing.assert_allclose(scores(less), scores(reward.adapt([PAIRS[1], PAIRS[2], PAIRS[4]])), atol=1e-6)
    assert (less.shots, ana.shots) == (3, 5) and ana.without(PAIRS).shots == 0
    less.save(tmp_path / "ana")
    assert UserReward.load(tmp_path / "ana", reward).shots == 3
    reverse = Preference(PAIRS[0].prompt, PAIRS[0].rejected, PAIRS[0].chosen)
    for unknown in (MANY[0], reverse):
        with pytest.raises(DataError, match=r"preferences\[1\] is not a pair of this user"):
            ana.without([PAIRS[0], unknown])


def test_many_pairs_are_folded_and_a_user_stays_small(reward, tmp_path):
    known = reward.adapt(MANY[:64])
    more = known.update(MANY[64:120])
    assert more.shots == 120 and len(more.context.features) == 56
    assert len(reward.adapt(MANY).context.features) == 200 - 5 * 32
    # A pair that was folded is known, and counts once.
    assert more.update(MANY[:1]).shots == 120
    np.testing.assert_array_equal(scores(more.update(MANY[:1])), scores(more))
    more.save(tmp_path / "ana")
    again = UserReward.load(tmp_path / "ana", reward)
    np.testing.assert_array_equal(scores(again), scores(more))
    np.testing.assert_array_equal(scores(again.update(MANY[120:])), scores(more.update(MANY[120:])))


def test_folded_pairs_say_nearly_what_they_said_one_by_one():
    """The margins of a user with folded pairs go with those of the exact posterior of all pairs."""
    reward = make_reward(seed=2, max_context=16)
    chosen = np.argsort([hash_of(text) for text in map(str, range(400))])
    pairs = [Preference("p", str(a), str(b)) for a, b in zip(chosen[200:], chosen[:200], strict=True)]
    pairs = [pairs[i] for i in np.random.default_rng(0).permutation(200)][:160]
    queries = [Preference("p", f"x{i}", f"y{i}") for i in range(200)]
    exact, newest = (reward.scoring.margins([some], [queries])[0][0] for some in (pairs, pairs[-32:]))
    folded = reward.adapt(pairs)
    texts = [text for pair in queries for text in (pair.chosen, pair.rejected)]
    found = folded.score("p", texts).reshape(-1, 2)
    found = found[:, 0] - found[:, 1]
    assert np.corrcoef(found, exact)[0, 1] > max(0.9, np.corrcoef(newest, exact)[0, 1])


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_folding_changes_no_certain_taste(share: float):
    """One pair more folds 32. A clear taste stays as clear, also with some labels against it."""
    reward = make_reward(seed=2, max_context=16)
    texts = sorted((f"t{i}" for i in range(400)), key=hash_of)
    pairs = [Preference("p", a, b) for a, b in zip(texts[300:365], texts[:65], strict=True)]
    for i in range(0, 65 if share else 0, round(1 / share) if share else 1):
        pairs[i] = Preference("p", pairs[i].rejected, pairs[i].chosen)
    queries = [text for pair in zip(texts[365:], texts[100:135], strict=True) for text in pair]

    def margins(user: UserReward) -> np.ndarray:
        return -np.diff(user.score("p", queries).reshape(-1, 2))[:, 0]

    whole = reward.adapt(pairs[:64])
    ratio = margins(whole.update(pairs[64:])).mean() / margins(whole).mean()
    assert 0.85 < ratio < 1.15


def hash_of(text: str) -> float:
    """The first feature of a text, which everybody in the test prefers to be large."""
    return float(HashedFeatures()(["p"], [text])[0, 0])


def test_old_pairs_can_be_forgotten_only_with_texts(reward):
    for texts in (True, False):
        many = reward.adapt(MANY[:100], keep_texts=texts, half_life=50)
        if texts:
            less, expected = many.without(MANY[:40]), reward.adapt(MANY[40:100], half_life=50)
            np.testing.assert_allclose(scores(less), scores(expected), atol=1e-5)
            assert less.preferences == tuple(MANY[40:100])
        else:
            with pytest.raises(DataError, match="one of the oldest 64 pairs, which are folded together"):
                many.without(MANY[:1])
        assert many.without(MANY[99:100]).shots == 99


def test_pairs_fade_by_their_age_in_pairs_or_days(reward):
    steady, fading = (reward.adapt(MANY[:40], half_life=life) for life in (None, 4))
    newest = reward.adapt(MANY[30:40])
    near, far = (np.abs(scores(user) - scores(newest)).mean() for user in (fading, steady))
    assert near < far
    np.testing.assert_allclose(scores(reward.adapt(MANY[:40], half_life=1e9)), scores(steady), atol=1e-5)
    # One new pair a day: ages in days are ages in pairs. Only differences of days matter.
    days = [1000.0 + i for i in range(40)]
    np.testing.assert_allclose(
        scores(reward.adapt(MANY[39::-1], half_life=4, days=days[::-1])), scores(fading), atol=1e-6
    )


def test_fading_is_the_same_at_once_stepwise_and_after_loading(reward, tmp_path):
    for days in (None, [0.5 * i for i in range(100)]):
        at_once = reward.adapt(MANY[:100], half_life=10, days=days)
        stepwise = reward.adapt(MANY[:3], half_life=10, days=days and days[:3])
        for start, stop in ((3, 64), (64, 70), (70, 100)):
            stepwise.save(tmp_path / "ana", overwrite=True)
            stepwise = UserReward.load(tmp_path / "ana", reward)
            stepwise = stepwise.update(MANY[start:stop], days=days and days[start:stop])
        np.testing.assert_allclose(scores(stepwise), scores(at_once), atol=1e-5)


@pytest.mark.parametrize("days", [None, range(100)])
def test_pairs_are_repeated_and_forgotten_as_if_all_had_been_given_at_once(reward, days):
    """Also pairs that were folded, if texts are kept; and days decide the order."""
    keeping = {"keep_texts": True, "half_life": 50}
    many = reward.adapt(MANY[:100], days=days, **keeping)
    order = [0, 90, 40, 70]
    again = many.update([MANY[i] for i in order], days=days and [100, 101, 102, 103])
    places = [*(i for i in range(100) if i not in order), *order]
    assert again.preferences == tuple(MANY[i] for i in places)
    at_once = [MANY[i] for i in places]
    when = days and [*places[:-4], *range(100, 104)]
    np.testing.assert_array_equal(scores(again), scores(reward.adapt(at_once, days=when, **keeping)))
    less = many.without([MANY[80], MANY[99]])
    left = [i for i in range(99) if i != 80]
    expected = reward.adapt([MANY[i] for i in left], days=days and left, **keeping)
    np.testing.assert_array_equal(scores(less), scores(expected))
    if days:
        shuffled = np.random.default_rng(0).permutation(100)
        other = reward.adapt([MANY[i] for i in shuffled], days=shuffled, **keeping)
        np.testing.assert_array_equal(scores(other), scores(many))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r: r.adapt(PAIRS, half_life=0), DataError, "half_life must be a number at least 0.001"),
        (lambda r: r.adapt(PAIRS, half_life="week"), DataError, "half_life must be a number"),
        (lambda r: r.adapt(PAIRS, days=[1] * 5), DataError, "days are given without a half-life"),
        (lambda r: r.adapt(PAIRS, half_life=3, days=[1, 2]), DataError, "5 preferences, but 2 days"),
        (lambda r: r.adapt(PAIRS, half_life=3, days=7), DataError, "days must be a list with one number"),
        (lambda r: r.adapt(PAIRS, half_life=3, days=[float("nan")] * 5), DataError, r"days\[0\] must be a number"),
        (lambda r: r.adapt(PAIRS, half_life=3).update(MANY[:1], days=[1]), DataError, "adapted without days"),
        (lambda r: r.adapt(PAIRS, half_life=3, days=range(5)).update(MANY[:1]), DataError, "adapted with days"),
        (lambda r: r.adapt().update(MANY[:1], days=[1]), DataError, "days are given without a half-life"),
        (lambda _: make_reward("set_transformer").adapt(PAIRS, half_life=3), FspoError, "the same weight"),
    ],
)  # fmt: skip
def test_wrong_half_lives_and_days_are_refused(reward, call, error, message):
    with pytest.raises(error, match=message):
        call(reward)


def test_days_may_begin_with_the_first_update(reward):
    later = reward.adapt(half_life=3).update(PAIRS, days=range(5))
    np.testing.assert_array_equal(scores(later), scores(reward.adapt(PAIRS, half_life=3, days=range(5))))


def test_extreme_ages_are_finite(reward):
    for life, days in ((1e-3, [float(i) for i in range(200)]), (1e-3, None), (5.0, [0.0] * 199 + [1e9])):
        assert np.isfinite(scores(reward.adapt(MANY, half_life=life, days=days))).all()


def test_odd_arrays_of_a_saved_user_are_refused(reward, tmp_path):
    from fspo_jax.checkpoints import write_user

    good = reward.adapt(MANY[:100], half_life=3, days=range(100), keep_texts=True).context.to_arrays()
    odd = {
        "digests": [good["digests"][:-1], good["digests"][:, :8], np.zeros_like(good["digests"])],
        "days": [good["days"][1:], good["days"].astype(np.float32), good["days"] * np.nan],
        "half_life": [np.zeros(1), np.zeros(0), np.array([-1.0])],
        "folded_weights": [-1.0 - good["folded_weights"], good["folded_weights"][1:], None],
        "folded_directions": [good["folded_directions"][:, 1:], None],
        "texts": [good["texts"][:-1], reward.adapt(PAIRS, keep_texts=True).context.to_arrays()["texts"]],
        "context": [good["context"][:, :1], None],
        "more": [np.zeros(1)],
    }
    for name, values in odd.items():
        for value in values:
            arrays = {**good, name: value} if value is not None else {**good}
            if value is None:
                del arrays[name]
            write_user(tmp_path / "ana", arrays, fingerprint=reward.fingerprint)
            with pytest.raises(CheckpointError, match="this reward cannot read the saved context"):
                UserReward.load(tmp_path / "ana", reward)


def test_new_pairs_count_after_old_ones_of_the_opposite_taste(reward):
    """After eight opposite pairs of last year, five of today give what they give alone; without forgetting, nothing."""
    features, generator = HashedFeatures(), np.random.default_rng(0)
    texts = [f"text {i}" for i in range(400)]
    values = features(["p"] * 400, texts)
    right = dict.fromkeys(("alone", "forgetting", "by pairs", "steady"), 0.0)
    for _ in range(20):
        order, taste = generator.permutation(400), values @ generator.normal(size=WIDTH)
        pairs = [
            Preference("p", *(texts[i] for i in sorted(two, key=taste.__getitem__, reverse=True)))
            for two in order.reshape(-1, 2)
        ]
        old = [Preference("p", pair.rejected, pair.chosen) for pair in pairs[:8]]
        new, asked = pairs[8:13], [text for pair in pairs[13:] for text in (pair.chosen, pair.rejected)]
        users = {
            "alone": reward.adapt(new),
            "forgetting": reward.adapt(old + new, half_life=90, days=[*range(8), *range(365, 370)]),
            "by pairs": reward.adapt(old + new, half_life=4),
            "steady": reward.adapt(old + new),
        }
        for name, user in users.items():
            margins = user.score("p", asked)
            right[name] += (margins[::2] > margins[1::2]).mean() / 20
    gain = {name: share - 0.5 for name, share in right.items()}  # half are right without pairs
    assert gain["alone"] > 0.1 and gain["steady"] < 0.2 * gain["alone"]
    assert gain["forgetting"] > 0.95 * gain["alone"] and gain["by pairs"] > 0.6 * gain["alone"]
