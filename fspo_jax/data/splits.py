"""Meta-train, meta-validation and meta-test users: a function of their ids and a seed only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from fspo_jax.errors import ConfigError, DataError
from fspo_jax.types import User

Split = Literal["train", "validation", "test"]
"""Meta-train, meta-validate, meta-test."""

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_users(
    users: Sequence[User], *, validation_fraction: float, test_fraction: float, split_seed: int
) -> dict[Split, list[User]]:
    """Splits users so that no user is in two splits.

    Each user gets a number in [0, 1), a hash of (seed, user id). Numbers below `test_fraction` mean the test split, the
    next `validation_fraction` the validation split, the rest the training split. So a user's split does not depend on
    the other users: adding users moves no one, a person in two files is in the same split of both, and a change of
    `validation_fraction` keeps the test users. In return, the shares are only close to the fractions.

    In small sources a split with a positive fraction may get no user. It then takes the user of the largest split with
    the nearest hash. Three users always fill three splits, two fill train and test, and one is in train. Only in such
    small sources can an added user move others.

    Args:
        users: Users with unique ids.
        validation_fraction: Share of validation users, in [0, 1).
        test_fraction: Share of test users, in [0, 1). The sum of both is less than 1.
        split_seed: Seed of the hash; another seed gives another split.

    Returns:
        The users of each split, in the given order.

    Raises:
        ConfigError: A fraction is out of range.
        DataError: Two users have the same id.
    """
    ids = [user.user_id for user in users]
    places = _split_names(ids, validation_fraction, test_fraction, split_seed)
    if len(places) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise DataError(
            f"two users have the id '{twice}'. Ids must be unique: merge the users or rename one."
        )
    split: dict[Split, list[User]] = {name: [] for name in SPLITS}
    for user in users:
        split[places[user.user_id]].append(user)
    return split


def _split_names(
    names: Iterable[str], validation_fraction: float, test_fraction: float, split_seed: int
) -> dict[str, Split]:
    """Returns the split of each distinct name."""
    if not (validation_fraction >= 0 and test_fraction >= 0 and validation_fraction + test_fraction < 1):
        raise ConfigError(
            f"validation_fraction {validation_fraction} and test_fraction {test_fraction} must be at least 0 "
            "and sum to less than 1, so that some are left for training."
        )
    bounds: Mapping[Split, tuple[float, float]] = {
        "train": (test_fraction + validation_fraction, 1.0),
        "test": (0.0, test_fraction),
        "validation": (test_fraction, test_fraction + validation_fraction),
    }
    positions = {name: _position(split_seed, name) for name in names}
    places: dict[str, Split] = {}
    members: dict[Split, list[str]] = {split: [] for split in bounds}
    for name, position in positions.items():
        places[name] = next((s for s in ("test", "validation") if position < bounds[s][1]), "train")
        members[places[name]].append(name)
    order = list(bounds)
    for split, (low, high) in bounds.items():
        giver = max(order, key=lambda s: (len(members[s]), order.index(s)))
        spare = len(members[giver]) > 1 or (members[giver] and order.index(giver) > order.index(split))
        if members[split] or low == high or not spare:
            continue
        middle = (low + high) / 2
        moved = min(members[giver], key=lambda name: (abs(positions[name] - middle), name))
        members[giver].remove(moved)
        members[split].append(moved)
        places[moved] = split
    return places


def _position(seed: int, name: str) -> float:
    """Hashes a seed and a name to a number in [0, 1)."""
    text = f"user\0{seed}\0{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48
