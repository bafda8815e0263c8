"""A community that is described in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_reward import WIDTH, StyledFeatures, make_reward

import fspo_jax as fspo
from fspo_jax.errors import CheckpointError, DataError, FspoError
from fspo_jax.types import Preference

FEATURES = StyledFeatures()


def person(description: str, number: int, pairs: int = 8) -> list[Preference]:
    """Somebody who likes what is like the description, in the embedding."""
    taste = FEATURES([description], [description])[0, :WIDTH]
    made = []
    for i in range(pairs):
        a, b = f"{number}: {i} a", f"{number}: {i} b"
        first, second = FEATURES(["?"] * 2, [a, b])[:, :WIDTH]
        made.append(Preference("?", *((a, b) if (first - second) @ taste > 0 else (b, a))))
    return made


def community(description: str, start: int, people: int = 3) -> list[list[Preference]]:
    return [person(description, start + number) for number in range(people)]


@pytest.fixture(scope="module")
def able() -> fspo.PersonalizedReward:
    reward = make_reward("three_level_gp")
    known = [(f"taste {n}", community(f"taste {n}", 100 * n)) for n in range(20)]
    return fspo.learn_descriptions(reward, known)


def test_what_is_like_the_description_is_liked(able) -> None:
    found = {}
    for told in ("new taste", "other taste"):
        ours = able.for_community(description=told)
        margins, _ = ours.margins([[]], [[p for pairs in community("new taste", 5000, 10) for p in pairs]])
        found[told] = float((margins > 0).mean())
    assert found["new taste"] > 0.9 and found["other taste"] < 0.7
    assert "for a described community" in repr(ours)
    factor, _ = np.asarray(able.scoring.params["description"]["sentence"])
    assert factor > 0.1


def test_few_described_communities_move_nobody_further_than_communities_differ() -> None:
    reward = make_reward("three_level_gp")
    few = fspo.learn_descriptions(
        reward, [(f"taste {n}", community(f"taste {n}", 100 * n)) for n in range(2)]
    )
    queries = [[pair for pairs in community("new taste", 5000, 10) for pair in pairs]]
    before, variances = reward.margins([[]], queries)
    told, _ = few.for_community(description="new taste").margins([[]], queries)
    assert np.square(told - before).mean() < 1.5 * variances.mean()


def test_pairs_go_on_from_the_description(able) -> None:
    people = community("new taste", 6000, 2)
    told = able.for_community(people, description="new taste")
    queries = [[p for pairs in community("new taste", 7000, 4) for p in pairs]]

    def loss(reward: fspo.PersonalizedReward) -> float:
        return float(np.logaddexp(0.0, -reward.margins([[]], queries)[0]).mean())

    alone = able.for_community(description="new taste")
    assert loss(told) < min(loss(able.for_community(people)), loss(alone))
    assert "of 2 people with 16 pairs" in repr(told)
    # A description is a prior mean: people who are told of later say as much as people who are told of at once.
    later = alone.for_community(people)
    np.testing.assert_allclose(later.margins([[]], queries)[0], told.margins([[]], queries)[0], atol=0.3)
    against = able.for_community(community("new taste", 6000, 20), description="other taste")
    assert loss(against) < loss(able.for_community(description="other taste"))


def test_factors_are_saved_and_the_text_is_not(able, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fspo_jax.reward.load.restore_featurizer", lambda *_, **__: FEATURES)
    able.save(tmp_path / "able")
    again = fspo.PersonalizedReward.load(tmp_path / "able")
    assert again.fingerprint == able.fingerprint == make_reward("three_level_gp").fingerprint  # for its users
    again.for_community(description="a new taste of theirs").save(tmp_path / "ours")
    for path in (tmp_path / "ours").iterdir():
        assert b"a new taste" not in path.read_bytes()
    ours = fspo.PersonalizedReward.load(tmp_path / "ours")
    expected = able.for_community(description="a new taste of theirs").adapt().score("?", ["a", "b"])
    np.testing.assert_array_equal(ours.adapt().score("?", ["a", "b"]), expected)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("", "description is empty"),
        (" \n", "description is empty"),
        (5, "description must be a string"),
        (["poets"], "description must be a string"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_anything_but_a_description_is_refused(able, description, message: str) -> None:
    with pytest.raises(DataError, match=message):
        able.for_community(description=description)


def test_rewards_that_cannot_read_say_so(able) -> None:
    with pytest.raises(FspoError, match=r"has not learned to read descriptions.*learn_descriptions"):
        make_reward("three_level_gp").for_community(description="poets")
    with pytest.raises(FspoError, match="'preferential_gp' scorer cannot learn a community"):
        make_reward().for_community(description="poets")
    with pytest.raises(FspoError, match="knows a community already"):
        able.for_community(description="poets").for_community(description="painters")
    with pytest.raises(DataError, match="pairs of some people, or a description"):
        able.for_community()


@pytest.mark.parametrize(
    ("communities", "message"),
    [
        ([], "no labelled pair"),
        ([("poets", [[]])], "no labelled pair"),
        (["poets"], r"communities\[0\] must be a description and people"),
        ([("poets",)], r"communities\[0\] must be a description and people"),
        ([(5, [])], r"communities\[0\]\[0\] must be a string"),
        ([(" ", [])], r"communities\[0\]\[0\] is empty. Say in words"),
        ([["poets", [[]]]], "no labelled pair"),
        ([("poets", "ana")], "people must be a list"),
        (None, "communities must be"),
    ],
)
def test_anything_but_described_communities_is_refused(communities, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fspo.learn_descriptions(make_reward("three_level_gp"), communities)


def test_factors_that_do_not_fit_are_refused(able) -> None:
    params = {**able.scoring.params, "description": {"sentence": np.zeros(3, np.float32)}}
    with pytest.raises(CheckpointError, match="the factors of descriptions do not fit"):
        fspo.PersonalizedReward.from_parts(able.config, params, FEATURES)
