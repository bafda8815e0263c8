"""Controls of language models that also read a description of the user."""

from __future__ import annotations

import numpy as np

from fspo_jax.evaluation.controls import first_pairs, other_users
from fspo_jax.evaluation.episodes import MeasuredUsers, People
from fspo_jax.evaluation.predict import Method, reading_texts, texts_of
from fspo_jax.reward import PersonalizedReward

GENERATED = "generated description"
TRUE = "true description"
OTHER_USERS = "another user's description"

EXPECTED = {
    GENERATED: "not below the model without a description",
    TRUE: "the highest of these three",
    OTHER_USERS: "below the true description, if the model reads it",
}
"""The expected result of each."""


def described_methods(
    reward: PersonalizedReward, people: People, measured: MeasuredUsers, *, shots: int, seed: int
) -> list[Method]:
    """Returns the reward with descriptions of the measured users; empty if it reads none or the users have none.

    Args:
        reward: The reward.
        people: The people, with the items that rows refer to.
        measured: The users. The methods predict episodes of these users only, in this order.
        shots: Number of pairs from which descriptions are generated.
        seed: Seed of the choice of other users, as for `controls.make_controls`.
    """
    users = [people.users[u] for u in measured.numbers]
    true = [user.description for user in users]
    if reward.writing is None or not reward.writing.describes or not any(true):
        return []
    contexts, _ = texts_of(people, first_pairs(measured.episode, shots), np.arange(len(users)))
    texts = {
        GENERATED: [reward.adapt(context).describe() for context in contexts],
        TRUE: true,
        OTHER_USERS: [true[owner] for owner in other_users(users, seed)],
    }
    return [
        Method(name, reading_texts(reward.margins, people, descriptions))
        for name, descriptions in texts.items()
    ]
