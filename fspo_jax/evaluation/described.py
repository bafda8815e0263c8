"""Controls of language models that read a description of the user beside the labelled pairs."""

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
    GENERATED: "not below the model without it",
    TRUE: "the highest: what words can add",
    OTHER_USERS: "below the true one: the model reads it",
}
"""What each shows when all is well."""


def described_methods(
    reward: PersonalizedReward, people: People, measured: MeasuredUsers, *, shots: int, seed: int
) -> list[Method]:
    """The reward with descriptions of the measured users; empty where it reads none or the users have none.

    Args:
        reward: Any.
        people: Whose items the rows are.
        measured: The users; the methods predict episodes of just these, in this order.
        shots: Pairs that generated descriptions are made from.
        seed: Of who stands in for whom, as for `controls.make_controls`.
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
