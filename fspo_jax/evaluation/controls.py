"""Controls: changed episodes on which a method that reads its user's labels must do worse.

This file has the only definition of each; `fspo evaluate`, `fspo benchmark` and `fspo data audit` use it:

- zero shots: `first_pairs(episode, 0)`, no pair of the user is read.
- flipped labels: `flipped_labels`, chosen and rejected of every context pair are swapped.
- another user's context: `mismatched_context`, the context pairs are those of another user.
- shuffled users: `shuffled_users`, all pairs are given to random users.

Two more controls are methods: `baselines.longer_response`, and a reward that is meta-trained on mismatched users
(`mismatched_baseline = true` in a config of training, `mismatched = true` for a method of a benchmark).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fspo_jax.evaluation.episodes import MeasuredUsers, People
from fspo_jax.evaluation.predict import Method, log_odds
from fspo_jax.metrics import correctness, user_means
from fspo_jax.types import Episode, User

ZERO_SHOTS = "zero shots"
FLIPPED = "flipped labels"
OTHER_USER = "another user's context"
SHUFFLED = "shuffled users"
MISMATCHED = "meta-trained on mismatched users"
LONGER = "longer response"
RANDOM = "random"

EXPECTED = {
    ZERO_SHOTS: "no labelled pair is read: below the model with the user's own pairs",
    FLIPPED: "below zero shots: the model reads the labels",
    OTHER_USER: "not above zero shots: what helps is this user's taste",
    SHUFFLED: "not above zero shots: shuffling removes personal taste, so a gain is what people have in common "
    "(measured on the shuffled queries, against zero shots on the same)",
    MISMATCHED: "below the model: in meta-training every context came from another user. What it still gains over zero "
    "shots comes from the design of the scorer; the rest of the model's gain was learned",
    LONGER: "always picks the longer response: near one half, unless length is what people want",
    RANDOM: "one half",
}
"""The expected result of each control, in words for a reader."""


class Control(NamedTuple):
    """The episodes of one control.

    Attributes:
        name: One of the names above.
        episode: The changed episode. A method reads the first K pairs of its context.
        users: `int [U]`, the rows for which the control exists.
    """

    name: str
    episode: Episode
    users: np.ndarray


class ControlScores(NamedTuple):
    """Scores of a method under a control. Arrays over users contain only users for whom the control exists.

    Attributes:
        accuracy: `float64 [U]`.
        gain: `[U]`, accuracy minus that of the method at zero shots on the same queries.
        log_odds: `[rows, Q]`, the predictions of all rows.
        users: `int [U]`, the rows that `accuracy` and `gain` are about.
    """

    accuracy: np.ndarray
    gain: np.ndarray
    log_odds: np.ndarray
    users: np.ndarray


def first_pairs(episode: Episode, shots: int) -> Episode:
    """Returns the episode with only the first K pairs of its context, or all pairs of users who have fewer."""
    used = np.arange(episode.context_mask.shape[1]) < shots
    return episode._replace(context_mask=episode.context_mask & used)


def flipped_labels(episode: Episode) -> Episode:
    """Returns the episode with chosen and rejected swapped in every context pair. Queries keep their labels."""
    return episode._replace(context=episode.context[:, :, ::-1])


def mismatched_context(episode: Episode, owners: np.ndarray) -> Episode:
    """Returns the episode in which user u has the context of user `owners[u]`."""
    return episode._replace(context=episode.context[owners], context_mask=episode.context_mask[owners])


def other_users(users: Sequence[User], seed: int) -> np.ndarray:
    """Picks another user for each user, from the same source and, if possible, from the same group: `int [U]`.

    The users of a group, or of a source, are put into a random circle, and each gets the next one. The only user of a
    source gets itself.
    """
    generator = np.random.default_rng([seed, 1])
    result = np.arange(len(users))
    for key in ("source", "group"):
        members: dict[tuple[str, str], list[int]] = {}
        for u, user in enumerate(users):
            members.setdefault((user.source, user.group if key == "group" else ""), []).append(u)
        for places in members.values():
            if len(places) > 1:
                order = generator.permutation(places)
                result[order] = np.roll(order, 1)
    return result


def shuffled_users(people: People, numbers: np.ndarray, seed: int) -> People:
    """Returns the same users, with the pairs of those in `numbers` shuffled among the users of each source.

    Every user keeps their number of pairs. Only `items` and `table` of the result are changed.
    """
    generator = np.random.default_rng(seed)
    table, pairs = people.table, np.array(people.table.pairs)
    by_source: dict[str, list[int]] = {}
    for u in numbers.tolist():
        start = int(table.offsets[u])
        own = range(start, start + int(table.counts[u]))
        by_source.setdefault(people.users[u].source, []).extend(own)
    for places in by_source.values():
        pairs[places] = pairs[generator.permutation(places)]
    return dataclasses.replace(people, table=table._replace(pairs=pairs))


def make_controls(
    people: People, measured: MeasuredUsers, *, seed: int, numbers: np.ndarray | None = None
) -> list[Control]:
    """Makes the episodes of every control, for `control_scores`.

    Args:
        people: The people, with the items that rows refer to.
        measured: The users with their own episodes.
        seed: Seed of the episodes, of the choice of other users and of shuffling.
        numbers: The users from whom `measured` was drawn; None for all people.

    Returns:
        The controls. Another user's context and shuffled users are missing if no source has two users.
    """
    episode, everybody = measured.episode, np.arange(len(measured.numbers))
    controls = [
        Control(ZERO_SHOTS, first_pairs(episode, 0), everybody),
        Control(FLIPPED, flipped_labels(episode), everybody),
    ]
    owners = other_users([people.users[u] for u in measured.numbers], seed)
    if (owners != everybody).any():
        others = np.flatnonzero(owners != everybody)
        controls.append(Control(OTHER_USER, mismatched_context(episode, owners), others))
        numbers = np.arange(len(people.users)) if numbers is None else numbers
        drawn = shuffled_users(people, numbers, seed).episodes(
            numbers, shots=episode.context.shape[1], queries=episode.queries.shape[1], seed=seed
        )
        sizes = Counter(people.users[u].source for u in numbers)
        several = [sizes[people.users[u].source] > 1 for u in drawn.numbers]
        controls.append(Control(SHUFFLED, drawn.episode, np.flatnonzero(several)))
    return controls


def control_scores(method: Method, controls: Sequence[Control], shots: int) -> dict[str, ControlScores]:
    """Returns the scores of a method under every control with K shots, by the name of the control."""
    zero: dict[int, np.ndarray] = {}
    found = {}
    for name, episode, users in controls:
        queries = id(episode.queries)
        if queries not in zero:
            zero[queries] = log_odds(method.margins, first_pairs(episode, 0))
        odds = zero[queries] if name == ZERO_SHOTS else log_odds(method.margins, first_pairs(episode, shots))
        accuracy, start = (
            user_means(correctness(o), episode.query_mask)[users] for o in (odds, zero[queries])
        )
        found[name] = ControlScores(accuracy, accuracy - start, odds, users)
    return found
