"""Groups of people are found in their pairs."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, WIDTH, StyledFeatures, make_reward

from fspo_jax.errors import DataError, FspoError
from fspo_jax.models.features.style import FEATURES, WORDS
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.reward import UserReward
from fspo_jax.reward.groups import Communities, Search, communities
from fspo_jax.types import Preference

TASTES = np.random.default_rng(3).normal(size=(2, StyledFeatures.dimension))
TASTES[:, 10:] *= 0.1
TASTES[1, :5] *= -1.0
TASTES[1, :5] -= TASTES[0, :5]


class NamedFeatures(StyledFeatures):
    """With a block between the others that no taste moves."""

    blocks = MappingProxyType({"sentence": WIDTH, "interaction": 2, "style": len(FEATURES)})
    dimension = WIDTH + 2 + len(FEATURES)
    columns = MappingProxyType({"style": WORDS, "interaction": {"off topic": "", "no answer": ""}})

    def __call__(self, prompts, responses):
        return np.insert(StyledFeatures()(prompts, responses), [WIDTH, WIDTH], 0.0, axis=1)


def person(number: int, group: int, pairs: int = 16) -> list[Preference]:
    made = []
    for i in range(pairs):
        a, b = f"{number}: {i} a", f"{number}: {i} b"
        first, second = StyledFeatures()(["?", "?"], [a, b])
        made.append(Preference("?", *((a, b) if (first - second) @ TASTES[group] > 0 else (b, a))))
    return made


OF = np.array([0] * 26 + [1] * 14)
PEOPLE = [person(number, group) for number, group in enumerate(OF)]


@pytest.fixture(scope="module")
def reward():
    plain, features = make_reward("three_level_gp"), NamedFeatures()
    params = make_scorer(plain.config.scorer, features.blocks).init(jax.random.key(0))
    amplitudes = {"log_amplitudes": -1.0, "log_community": 1.0}  # people of a group have most in common
    changed = {name: jnp.full_like(params[name], value) for name, value in amplitudes.items()}
    return type(plain).from_parts(plain.config, {**params, **changed}, features)


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fspo_jax.reward.groups.STARTS", 2)
        patch.setattr("fspo_jax.reward.groups.STEPS", 4)
        yield


@pytest.fixture(scope="module")
def found(reward) -> Communities:
    return communities(reward, [[], *PEOPLE], 2)


@pytest.mark.slow
def test_planted_groups_are_found_and_reported(found: Communities) -> None:
    assert found.members[0] == -1  # without pairs
    assert (found.members[1:] == OF).mean() >= 0.9
    first, second = found.groups
    assert abs(first.share - 0.65) < 0.1 and first.people + second.people == 40
    assert found.log_loss < found.log_loss_of_one
    assert found.worst.accuracy == min(first.accuracy, second.accuracy) > 0.6
    for group in found.groups:
        assert len(group.differences) == 3 and all(
            name.removeprefix("style ") in FEATURES for name, _ in group.differences
        )


@pytest.mark.slow
def test_people_who_all_want_the_same_are_one_group(reward) -> None:
    found = communities(reward, [PEOPLE[0]] * 10, 2)
    assert [group.people for group in found.groups] == [10] and found.groups[0].share == 1.0
    assert set(found.members) == {0} and 0.0 <= found.worst.accuracy <= 1.0
    assert np.isfinite(found.reward.adapt(PAIRS).score("?", CANDIDATES)).all()


def test_what_separates_groups_is_named_by_column(reward) -> None:
    search, width = Search(reward.scoring, [PAIRS]), 1 + WIDTH + len(FEATURES) + 1
    mean, place = np.zeros((2, width), np.float32), 1 + WIDTH + 3
    mean[0, place], mean[0, place + 1] = 2.0, -6.0
    covariance = np.stack([np.diag([1.0] * (width - 1) + [0.0])] * 2)  # of the penalty nothing is learned
    groups = {"mean": mean, "covariance": covariance, "log_weights": np.zeros(2)}
    expected = (("style " + list(FEATURES)[4], -3.0), ("style " + list(FEATURES)[3], 1.0))
    assert search.differences(groups, 0, most=2) == expected


@pytest.mark.slow
def test_a_person_is_weighed_into_the_group_that_the_pairs_fit(found: Communities, tmp_path) -> None:
    assert "for 2 groups of 40 people with 640 pairs" in repr(found.reward)
    for group in range(2):
        newcomer = found.reward.adapt(person(77 + group, group))
        assert newcomer.state.shares[group] > 0.6
    user = found.reward.adapt(PAIRS)
    user.save(tmp_path / "ana")
    again = UserReward.load(tmp_path / "ana", found.reward)
    np.testing.assert_array_equal(again.score("?", CANDIDATES), user.score("?", CANDIDATES))


def test_wrong_arguments_and_rewards_are_refused(reward) -> None:
    for count in (1, 17, "two", None):
        with pytest.raises(DataError, match="count must be"):
            communities(reward, PEOPLE, count)
    with pytest.raises(DataError, match=r"9 people with pairs, too few for 2 groups\. Give at least 10"):
        communities(reward, [*PEOPLE[:9], []], 2)
    with pytest.raises(DataError, match="nobody has 4 pairs, so none can be held out"):
        communities(reward, [pairs[:3] for pairs in PEOPLE], 2)
    with pytest.raises(DataError, match="must be a PersonalizedReward"):
        communities("fspo-mini", PEOPLE, 2)
    with pytest.raises(FspoError, match="cannot learn a community"):
        communities(make_reward(), PEOPLE, 2)


@pytest.mark.slow
def test_groups_are_not_gone_on_from(found: Communities) -> None:
    for call in (lambda: communities(found.reward, PEOPLE, 2), lambda: found.reward.for_community(PEOPLE)):
        with pytest.raises(FspoError, match="knows 2 groups of people"):
            call()
