"""Groups of people are found in their pairs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, StyledFeatures, make_reward

from fspo_jax.errors import DataError, FspoError
from fspo_jax.reward import UserReward
from fspo_jax.reward.groups import Communities, communities
from fspo_jax.types import Preference

TASTES = np.random.default_rng(3).normal(size=(2, StyledFeatures.dimension))
TASTES[:, 10:] *= 0.1
TASTES[1, :5] *= -1.0
TASTES[1, :5] -= TASTES[0, :5]


class NamedFeatures(StyledFeatures):
    columns = {"style": tuple(f"column {i}" for i in range(27))}  # noqa: RUF012


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
    plain = make_reward("three_level_gp")
    amplitudes = {"log_amplitudes": -1.0, "log_community": 1.0}  # people of a group have most in common
    changed = {name: jnp.full_like(plain.scoring.params[name], value) for name, value in amplitudes.items()}
    return type(plain).from_parts(plain.config, {**plain.scoring.params, **changed}, NamedFeatures())


@pytest.fixture(scope="module")
def found(reward) -> Communities:
    return communities(reward, PEOPLE, 2)


@pytest.mark.slow
def test_planted_groups_are_found_and_reported(found: Communities) -> None:
    assert (found.members == OF).mean() >= 0.9
    first, second = found.groups
    assert abs(first.share - 0.65) < 0.1 and first.people + second.people == 40
    assert found.log_loss < found.log_loss_of_one
    assert found.worst.accuracy == min(first.accuracy, second.accuracy) > 0.6
    for group in found.groups:
        assert len(group.differences) == 3 and all(
            name.startswith("style column") for name, _ in group.differences
        )


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
    with pytest.raises(DataError, match="must be a PersonalizedReward"):
        communities("fspo-mini", PEOPLE, 2)
    with pytest.raises(FspoError, match="cannot learn a community"):
        communities(make_reward(), PEOPLE, 2)


@pytest.mark.slow
def test_groups_are_not_gone_on_from(found: Communities) -> None:
    for call in (lambda: communities(found.reward, PEOPLE, 2), lambda: found.reward.for_community(PEOPLE)):
        with pytest.raises(FspoError, match="knows 2 groups of people"):
            call()
