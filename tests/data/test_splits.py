"""Splits: disjoint, complete, stable, near the fractions."""

from __future__ import annotations

import random
import string

import pytest

from fspo_jax.data.splits import SPLITS, split_users
from fspo_jax.errors import ConfigError, DataError
from fspo_jax.types import Preference, User

FRACTIONS = {"validation_fraction": 0.1, "test_fraction": 0.2, "split_seed": 0}


def make_users(count: int, seed: int = 0) -> list[User]:
    chance = random.Random(seed)
    alphabet = string.ascii_letters + "é\0 /\ud800"
    ids = {f"{i}" + "".join(chance.choices(alphabet, k=6)) for i in range(count)}
    return [User(name, (Preference("p", "a", "b"),)) for name in sorted(ids)]


def places(split: dict) -> dict[str, str]:
    return {user.user_id: name for name, users in split.items() for user in users}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 200])
@pytest.mark.parametrize("seed", range(20))
def test_split_users_is_disjoint_and_complete_and_in_order(count, seed):
    users = make_users(count, seed)
    split = split_users(users, **FRACTIONS | {"split_seed": seed})
    assert tuple(split) == SPLITS
    assert sorted(u.user_id for part in split.values() for u in part) == sorted(u.user_id for u in users)
    for part in split.values():
        assert part == [user for user in users if user in part]


@pytest.mark.parametrize("seed", range(20))
def test_split_users_does_not_depend_on_order(seed):
    users = make_users(random.Random(seed).randint(1, 40), seed)
    shuffled = random.Random(seed).sample(users, len(users))
    kwargs = FRACTIONS | {"split_seed": seed}
    assert places(split_users(users, **kwargs)) == places(split_users(shuffled, **kwargs))


@pytest.mark.parametrize("seed", range(10))
def test_split_users_added_users_move_no_other_user(seed):
    users = make_users(2000, seed)
    kwargs = FRACTIONS | {"split_seed": seed}
    few, many = places(split_users(users[:500], **kwargs)), places(split_users(users, **kwargs))
    assert all(many[name] == place for name, place in few.items())


def test_split_users_larger_validation_fraction_leaves_test_users_alone():
    users = make_users(2000)
    few = split_users(users, **FRACTIONS)
    many = split_users(users, **FRACTIONS | {"validation_fraction": 0.4})
    assert few["test"] == many["test"]
    assert {u.user_id for u in few["validation"]} < {u.user_id for u in many["validation"]}


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.0, 0.5), (0.3, 0.0), (0.0, 0.0)])
def test_split_users_shares_are_near_the_fractions(validation, test):
    count = 10_000
    split = split_users(make_users(count), validation_fraction=validation, test_fraction=test, split_seed=3)
    for name, share in (("validation", validation), ("test", test), ("train", 1 - validation - test)):
        deviation = (share * (1 - share) / count) ** 0.5
        assert abs(len(split[name]) / count - share) <= 4 * deviation


def test_split_users_other_seed_gives_independent_split():
    users = make_users(10_000)
    first = {u.user_id for u in split_users(users, **FRACTIONS)["test"]}
    second = {u.user_id for u in split_users(users, **FRACTIONS | {"split_seed": 1})["test"]}
    share = len(first & second) / len(first)
    assert abs(share - 0.2) < 4 * (0.2 * 0.8 / len(first)) ** 0.5


@pytest.mark.parametrize("count", [3, 4, 5, 9])
@pytest.mark.parametrize("seed", range(30))
def test_split_users_three_users_fill_three_splits(count, seed):
    split = split_users(make_users(count, seed), **FRACTIONS | {"split_seed": seed})
    assert all(split.values())


@pytest.mark.parametrize("seed", range(30))
def test_split_users_two_users_fill_train_and_test_and_one_is_train(seed):
    kwargs = FRACTIONS | {"split_seed": seed}
    assert [len(part) for part in split_users(make_users(2, seed), **kwargs).values()] == [1, 0, 1]
    assert [len(part) for part in split_users(make_users(1, seed), **kwargs).values()] == [1, 0, 0]


@pytest.mark.parametrize("seed", range(10))
def test_split_users_zero_fraction_stays_empty_in_small_sources(seed):
    split = split_users(make_users(4, seed), validation_fraction=0.0, test_fraction=0.2, split_seed=seed)
    assert not split["validation"] and split["train"] and split["test"]


def test_split_users_place_is_pinned():
    """Golden value: a change of the hash silently moves test users into train of every published run."""
    users = [User(f"user{i}", (Preference("p", "a", "b"),)) for i in range(20)]
    split = split_users(users, **FRACTIONS)
    assert {name: [u.user_id for u in part] for name, part in split.items() if name != "train"} == PINNED


PINNED = {"validation": ["user5", "user11", "user16"], "test": ["user2", "user15"]}


@pytest.mark.parametrize("fractions", [(-0.1, 0.2), (0.5, 0.5), (0.1, 1.0), (float("nan"), 0.1)])
def test_split_users_bad_fraction_raises(fractions):
    with pytest.raises(ConfigError, match="sum to less than 1"):
        split_users([], validation_fraction=fractions[0], test_fraction=fractions[1], split_seed=0)


def test_split_users_repeated_id_raises():
    users = make_users(3)
    with pytest.raises(DataError, match="two users have the id"):
        split_users([*users, users[1]], **FRACTIONS)
