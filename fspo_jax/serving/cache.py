"""Users' rewards, derived from their labels when they are first needed and kept until the labels change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple

from fspo_jax.reward import PersonalizedReward, UserReward
from fspo_jax.reward.community import scoring_with_community
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.stored import CommunityVersion, Version
from fspo_jax.serving.users import Users

MOST_USERS = 10_000
"""Users whose rewards are kept; the one that was not asked for longest is derived anew."""

MOST_COMMUNITIES = 100
"""Communities whose rewards are kept."""


class Derived(NamedTuple):
    """A user's reward, and the ids of the labels that it has read, in the order of its places.

    A pair that was given twice counts once, under its newest id.
    """

    reward: UserReward
    labels: tuple[int, ...] = ()


class UserRewards:
    """The rewards of users. What a process keeps is checked by the version in the database at every request.

    So any number of processes may serve the same users, and a label counts everywhere once it is acknowledged.

    Args:
        reward: The reward that is adapted.
        users: Their labels.
        most: Largest number of users that are kept.
    """

    def __init__(self, reward: PersonalizedReward, users: Users, most: int = MOST_USERS):
        self._reward, self._users, self._most = reward, users, most
        self._kept: OrderedDict[str, tuple[Version, Derived]] = OrderedDict()
        self._communities: OrderedDict[str, tuple[CommunityVersion, PersonalizedReward]] = OrderedDict()
        self._lock = threading.Lock()
        self.everybody = Derived(reward.adapt())

    def of(self, user: str) -> Derived | None:
        """The reward of a user as of now; None if there is no such user.

        Raises:
            LimitError: The user has more labels than the reward reads.
            Refusal: The user's community was learned with another reward.
        """
        version = self._users.version(user)
        with self._lock:
            kept = self._kept.get(user)
            if kept and kept[0] == version:
                self._kept.move_to_end(user)
                return kept[1]
            self._kept.pop(user, None)
        version, labels = self._users.labels(user)  # of one moment, perhaps later than the version above
        if version is None:
            return None
        pairs = {label.pair: label.id for label in labels}
        base = self._reward if version.community is None else self.inside(version.community)
        made = Derived(base.adapt(list(pairs)), tuple(pairs.values()))
        with self._lock:
            self._kept[user] = (version, made)
            self._kept.move_to_end(user)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def inside(self, community: CommunityVersion) -> PersonalizedReward:
        """The reward of a community, read from the database when it is first needed.

        Raises:
            Refusal: It was learned with another reward.
        """
        with self._lock:
            kept = self._communities.get(community.id)
            if kept and kept[0] == community:
                return kept[1]
        learned = self._users.communities.posterior(community.id)  # perhaps of a later version
        if learned is None:
            return self._reward
        if learned.fingerprint != self._reward.fingerprint:
            raise Refusal(
                409,
                f"the community '{community.id}' was learned with another reward. Learn it again: PUT "
                f"/v1/communities/{community.id}.",
            )
        made = replace(self._reward, scoring=scoring_with_community(self._reward.scoring, learned.data))
        with self._lock:
            self._communities[community.id] = (community, made)
            self._communities.move_to_end(community.id)
            if len(self._communities) > MOST_COMMUNITIES:
                self._communities.popitem(last=False)
        return made
