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

    A user's place is a hash of (seed, user id) in [0, 1): below `test_fraction` is test, the next
    `validation_fraction` validation, the rest train. So it does not depend on the order of the users nor on
    who else is there, a person who is in two files is in the same split of both, users who are added move
    nobody, and a change of `validation_fraction` leaves the test users alone. The price: shares are near the
    fractions, not exact. (Cutting the users sorted by hash would be exact, but each added user could move
    others across a cut, from test into train.)

    Small sources: a split with a positive fraction that got nobody takes a user of the largest split, the
    one whose hash is nearest. Three users always fill three splits, two fill train and test, one is train.
    Only in sources that small (or fractions that small) can added users move others.

    Args:
        users: Ids must be unique.
        validation_fraction: In [0, 1).
        test_fraction: In [0, 1); the two fractions sum to less than 1.
        split_seed: Another seed is another split.

    Returns:
        Each split's users, in the order given.

    Raises:
        ConfigError: A fraction is out of range.
        DataError: Two users have one id.
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
    """The split of each distinct name."""
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
    """A hash in [0, 1)."""
    text = f"user\0{seed}\0{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) / 2**48
