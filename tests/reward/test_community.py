"""A reward for a community: learned in chunks, served, saved and refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_reward import CANDIDATES, StyledFeatures, make_reward

from fspo_jax.errors import CheckpointError, DataError, FspoError
from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.reward.community import community_bytes, scoring_with_community
from fspo_jax.types import Preference, User

TASTE = np.random.default_rng(5).normal(size=StyledFeatures.dimension)
TASTE[10:] *= 0.2


def person(number: int, pairs: int = 8, pool: str = "") -> list[Preference]:
    """Pairs labelled by the taste that all have in common; from a shared pool of texts if it has a name."""
    made = []
    for i in range(pairs):
        owner = pool or f"of {number}"
        a, b = f"{owner}: {i} a", f"{owner}: {i} b"
        first, second = StyledFeatures()(["?", "?"], [a, b])
        made.append(Preference("?", *((a, b) if (first - second) @ TASTE > 0 else (b, a))))
    return made


PEOPLE = [person(number) for number in range(12)]
OTHERS = [person(number) for number in range(100, 160)]


@pytest.fixture(scope="module")
def reward() -> PersonalizedReward:
    return make_reward("three_level_gp")


@pytest.fixture(scope="module")
def ours(reward: PersonalizedReward) -> PersonalizedReward:
    return reward.for_community(PEOPLE)


def accuracy(reward: PersonalizedReward, shots: int = 0) -> float:
    contexts, queries = ([pairs[part] for pairs in OTHERS] for part in (slice(0, shots), slice(4, 8)))
    return float((reward.margins(contexts, queries)[0] > 0).mean())


def test_others_of_the_community_are_known_before_their_first_pair(reward, ours) -> None:
    assert accuracy(ours) > accuracy(reward) + 0.1
    assert accuracy(ours) > accuracy(reward, shots=4)
    assert "for a community of 12 people with 96 pairs" in repr(ours)
    assert "community" not in repr(reward)


def test_all_calls_agree_inside_a_community(ours) -> None:
    pairs, (query,) = (
        PEOPLE[0][:3] + OTHERS[0][:2],
        PEOPLE[1][:1],
    )  # texts that are known, and texts that are not
    user = ours.adapt(pairs)
    np.testing.assert_allclose(
        user.score("?", CANDIDATES),
        ours.adapt(pairs[:2]).update(pairs[2:]).score("?", CANDIDATES),
        atol=1e-5,
    )
    scores = user.score("?", [query.chosen, query.rejected])
    mean, variance = ours.margins([pairs], [[query]])
    assert scores[0] - scores[1] == pytest.approx(mean[0, 0], abs=1e-5)
    deviation = user.uncertainty("?", [query.chosen, query.rejected])[0]
    assert 4 * deviation**2 == pytest.approx(variance[0, 0], rel=1e-3)
    calibrated = ours.calibrated(PEOPLE)
    assert calibrated.temperature != 1.0 and calibrated.fingerprint == ours.fingerprint


def test_after_warm_up_of_one_community_nothing_is_compiled_or_traced_inside_any(
    reward, ours, caplog
) -> None:
    ours.warm_up()
    ours.adapt(PEOPLE[0]).explain("?", CANDIDATES)
    data = community_bytes(reward.for_community(OTHERS).scoring)
    caplog.clear()
    with jax.log_compiles():
        theirs = replace(reward, scoring=scoring_with_community(reward.scoring, data))
        theirs.adapt(PEOPLE[0]).score("?", CANDIDATES)
        theirs.adapt(PEOPLE[0]).explain("?", CANDIDATES)
    assert not caplog.messages


def test_a_text_that_the_community_judged_has_an_effect_of_its_own(reward) -> None:
    shared = [person(number, pairs=2, pool="survey") for number in range(8)]
    ours = reward.for_community(shared)
    pair = shared[0][0]

    def margin(chosen: str, rejected: str) -> float:
        good, bad = ours.adapt().score("?", [chosen, rejected])
        return float(good - bad)

    texts = ours.scoring.community["texts"]
    assert len(texts["keys"]) == 4 and texts["counts"].tolist() == [8] * 4
    inner = ours.scoring.featurizer.inner
    effects = ours.scoring.featurizer(["?"] * 2, [pair.chosen, pair.rejected])[:, -1]
    assert effects[0] == -effects[1] > 0.3
    assert margin(f" {pair.chosen}\n", "unknown") - margin(pair.chosen, "unknown") != 0  # other features
    assert ours.scoring.featurizer(["?"], [f" {pair.chosen}\n"])[0, -1] == effects[0]  # the same text
    np.testing.assert_array_equal(
        ours.scoring.featurizer(["?"], ["unknown"])[0, :-1], inner(["?"], ["unknown"])[0]
    )
    again = ours.for_community(shared)
    assert (again.scoring.community["texts"]["variances"] < texts["variances"]).all()
    assert again.scoring.community["texts"]["counts"].tolist() == [16] * 4
    further = again.scoring.featurizer(["?"], [pair.chosen])[0, -1]
    assert effects[0] < further < 1.55 * effects[0]  # it goes on from what is known, not from zero


@pytest.mark.parametrize("texts_are_shared", [False, True])
def test_a_stream_in_chunks_comes_near_all_pairs_at_once(reward, monkeypatch, texts_are_shared: bool) -> None:
    people = [person(n, pool=f"pool {n % 3}" if texts_are_shared else "") for n in range(12)]
    queries = [pair for pairs in OTHERS[:8] for pair in pairs] + people[0]
    whole = reward.for_community(people).margins([[]], [queries])[0]
    monkeypatch.setattr("fspo_jax.reward.community.SMALL_CHUNK", 16)
    monkeypatch.setattr("fspo_jax.reward.community.LARGE_CHUNK", 32)
    streamed = reward.for_community(iter(people))
    found = streamed.margins([[]], [queries])[0]
    assert np.abs(found - whole).max() < 0.2 * np.abs(whole).max()
    assert ((found > 0) == (whole > 0)).mean() > 0.95
    in_turns = reward
    for part in (people[:4], *(people[i : i + 2] for i in range(4, 12, 2))):
        in_turns = in_turns.for_community(part)
    np.testing.assert_allclose(in_turns.margins([[]], [queries])[0], found, atol=1e-5)
    assert repr(in_turns).split(", fing")[0] == repr(streamed).split(", fing")[0]


def test_most_seen_texts_are_kept_and_a_long_person_is_split(reward, monkeypatch) -> None:
    monkeypatch.setattr("fspo_jax.reward.community.MOST_TEXTS", 4)
    monkeypatch.setattr("fspo_jax.reward.community.LARGE_CHUNK", 16)
    survey = [person(n, pairs=2, pool="survey") for n in range(3)]
    ours = reward.for_community([*survey, person(7, pairs=40), [], *survey])
    assert ours.scoring.community["people"] == 7 and ours.scoring.community["pairs"] == 52
    assert ours.scoring.community["texts"]["counts"].tolist() == [6] * 4


def test_a_pair_given_twice_counts_once_and_users_are_people(reward) -> None:
    once = reward.for_community(PEOPLE[:2])
    for given in (
        [pairs + pairs for pairs in PEOPLE[:2]],
        [User(str(i), tuple(PEOPLE[i])) for i in range(2)],
    ):
        other = reward.for_community(given)
        np.testing.assert_array_equal(other.scoring.community["mean"], once.scoring.community["mean"])
        assert other.scoring.community["pairs"] == 16
    line_ends = [Preference(prompt, "good", "bad") for prompt in ("?\n", "?\r\n")]
    assert reward.for_community([line_ends]).scoring.community["pairs"] == 1


@pytest.fixture
def saved(ours, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr("fspo_jax.reward.load.restore_featurizer", lambda *_, **__: StyledFeatures())
    ours.save(tmp_path / "ours")
    return tmp_path / "ours"


def test_saved_community_is_loaded_as_it_was_and_holds_no_text(reward, ours, saved: Path) -> None:
    loaded = PersonalizedReward.load(saved)
    assert (repr(loaded), loaded.fingerprint) == (repr(ours), ours.fingerprint)
    known = PEOPLE[0][0].chosen
    np.testing.assert_array_equal(
        loaded.adapt(PEOPLE[0]).score("?", [known, *CANDIDATES]),
        ours.adapt(PEOPLE[0]).score("?", [known, *CANDIDATES]),
    )
    data = (saved / "community.safetensors").read_bytes()
    assert b"of 0: " not in data and len(data) < 40_000
    more = loaded.for_community(OTHERS[:1])
    more.save(saved)
    assert repr(PersonalizedReward.load(saved)) == repr(more)
    reward.save(saved)
    assert not (saved / "community.safetensors").exists()


def test_a_user_of_one_community_is_refused_by_another(reward, ours, tmp_path: Path) -> None:
    ours.adapt(PEOPLE[0]).save(tmp_path / "ana")
    UserReward.load(tmp_path / "ana", ours)
    for other in (
        reward,
        reward.for_community(PEOPLE[1:]),
        reward.for_community(PEOPLE),
    ):  # each has its own secret
        with pytest.raises(CheckpointError, match="was saved with reward"):
            UserReward.load(tmp_path / "ana", other)


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("mean"),
        lambda arrays: arrays.update(extra=arrays["mean"]),
        lambda arrays: arrays.update(covariance=arrays["covariance"][:, :2]),
        lambda arrays: arrays.update(mean=arrays["mean"] * np.nan),
        lambda arrays: arrays.update(mean=arrays["mean"] + 1),
        lambda arrays: arrays.update({"texts/keys": arrays["texts/keys"][:-1]}),
        lambda arrays: arrays.update({"texts/keys": arrays["texts/keys"].astype(np.float32)}),
        lambda arrays: arrays.clear(),
    ],
)
def test_damaged_community_is_refused(saved: Path, damage) -> None:
    path = saved / "community.safetensors"
    arrays = load_file(path)
    damage(arrays)
    save_file(arrays, path)
    with pytest.raises(CheckpointError, match=r"damaged|differ from what was saved"):
        PersonalizedReward.load(saved)
    path.unlink()
    with pytest.raises(CheckpointError, match="differ from what was saved"):
        PersonalizedReward.load(saved)


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([], "there is no labelled pair"),
        ([[], []], "there is no labelled pair"),
        (None, "people must be a list with one list of Preference per person"),
        (5, "people must be a list with one list"),
        ("ana", "people must be a list with one list"),
        ({"ana": PEOPLE[0]}, "people must be a list with one list"),
        (PEOPLE[0][0], "people must be a list with one list"),
        (User("ana", tuple(PEOPLE[0])), "people must be a list with one list"),
        (PEOPLE[0], r"people\[0\] must be a list of Preference"),
        ([PEOPLE[0], ["text"]], r"people\[1\]\[0\] must be a Preference"),
        ([PEOPLE[0], None], r"people\[1\] must be a list of Preference"),
    ],
)
def test_anything_but_people_is_refused(reward, people, message: str) -> None:
    with pytest.raises(DataError, match=message):
        reward.for_community(people)


def test_other_scorers_say_which_can() -> None:
    with pytest.raises(
        FspoError, match=r"'preferential_gp' scorer cannot learn a community.*'three_level_gp'"
    ):
        make_reward().for_community(PEOPLE)
