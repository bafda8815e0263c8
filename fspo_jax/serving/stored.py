"""What is stored about users and communities, as values."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError
from fspo_jax.types import Preference

USER_ID = re.compile(r"[A-Za-z0-9_@+-][A-Za-z0-9._@+-]{0,127}")


class CommunityVersion(NamedTuple):
    """What a community has learned. Equal versions mean the same, also if a community was deleted and made again."""

    id: str
    born: str
    changes: int


class Version(NamedTuple):
    """The state of a user. Equal versions mean equal labels, also if a user was deleted and made again.

    Attributes:
        born: Drawn at random when the user is made.
        changes: How often the user has changed.
        community: The community that the user belongs to, or None.
    """

    born: str
    changes: int
    community: CommunityVersion | None = None

    def __str__(self) -> str:
        return f"{self.born}.{self.changes}"


class Guess(NamedTuple):
    """What was known of a label before the person gave it. It is kept, because it cannot be computed honestly later.

    Attributes:
        asked: How the pair was chosen: `"bald"`, or `"random"`, which alone is fair to count hits on.
        own: Probability of the label by the person's own reward.
        general: Probability of the label by the reward of people in general.
    """

    asked: str
    own: float
    general: float


class Label(NamedTuple):
    """A labelled pair of a user as it is stored.

    Attributes:
        id: Grows with every label.
        pair: The labelled pair.
        created: Seconds since 1970.
        response_seconds: How long the person took to choose, or None. No scorer reads it yet; it cannot be had later.
        guess: For a pair that the service asked, else None.
    """

    id: int
    pair: Preference
    created: float
    response_seconds: float | None = None
    guess: Guess | None = None


class Pass(NamedTuple):
    """A pair that a person was asked and did not label. It is not asked again.

    Attributes:
        id: Grows with every pass.
        pair: The pair; which response is `chosen` means nothing.
        answer: `"tie"` or `"skip"`.
        created: Seconds since 1970.
        response_seconds: As in `Label`.
    """

    id: int
    pair: Preference
    answer: str
    created: float
    response_seconds: float | None = None


class StoredUser(NamedTuple):
    """What is known about a user without reading the labels."""

    id: str
    version: Version
    labels: int
    created: float


class StoredCommunity(NamedTuple):
    """What is known about a community without its posterior.

    Attributes:
        version: Its id, and which of its states this is.
        people, pairs: From how many it has learned.
        members: The ids of the users who belong to it, sorted.
        created, learned: Seconds since 1970.
    """

    version: CommunityVersion
    people: int
    pairs: int
    members: tuple[str, ...]
    created: float
    learned: float


class Posterior(NamedTuple):
    """What a community has learned.

    Attributes:
        people, pairs: From how many.
        fingerprint: Of the reward that learned it.
        data: As `community_bytes` makes it.
    """

    people: int
    pairs: int
    fingerprint: str
    data: bytes


class BelongsElsewhere(DataError):
    """A user belongs to another community."""


class KeyUsedBefore(DataError):
    """An idempotency key came again with another request."""


def check_user_id(value: Any, name: str = "user") -> str:
    """Returns an id of a user; raises `DataError` for anything but 1 to 128 letters, digits, and `. _ @ + -`."""
    if not isinstance(value, str) or not USER_ID.fullmatch(value):
        raise DataError(
            f"{name} must be 1 to 128 letters, digits or signs of '._@+-', and not begin with '.', not {shown(value)}."
        )
    return value
