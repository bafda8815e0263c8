"""What methods of a benchmark predict without training."""

from __future__ import annotations

import numpy as np
import pytest

from fspo_jax.evaluation.baselines import majority
from fspo_jax.evaluation.controls import first_pairs
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.predict import leave_one_out_log_odds, log_odds
from fspo_jax.types import Episode, Preference, User

pytestmark = pytest.mark.slow


def test_context_pairs_are_predicted_from_other_pairs_of_their_user_without_shared_text() -> None:
    texts = np.array([0, 1, 2, 3, 4, 0, 6, 7])  # row 5 has the text of row 0
    context = np.array([[[0, 1], [2, 3], [5, 4], [6, 7]]])
    episode = Episode(
        context, np.array([[True, True, True, False]]), np.zeros((1, 1, 2), int), np.ones((1, 1), bool)
    )
    seen = []

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        seen.append((rows.queries[0].tolist(), rows.context[0][rows.context_mask[0]].tolist()))
        return np.full(rows.query_mask.shape, 1.0), np.zeros(rows.query_mask.shape)

    found = leave_one_out_log_odds(margins, episode, texts)
    assert seen[:3] == [([[0, 1]], [[2, 3]]), ([[2, 3]], [[0, 1], [5, 4]]), ([[5, 4]], [[2, 3]])]
    np.testing.assert_allclose(found, [1.0, 1.0, 1.0])
    seen.clear()
    assert leave_one_out_log_odds(margins, first_pairs(episode, 2), texts).shape == (2,)
    assert seen[1] == ([[2, 3]], [[0, 1]])
    assert leave_one_out_log_odds(margins, first_pairs(episode, 0), texts).shape == (0,)


def test_majority_predicts_what_most_of_the_others_chose() -> None:
    pair = Preference("?", "x", "y")
    users = [User(f"u{i}", (pair,), "a") for i in range(3)] + [User("v", (Preference("?", "y", "x"),), "a")]
    people = People.of(users)
    queries, nothing = np.array([[[0, 1], [1, 0]]]), np.zeros((1, 0, 2), int)
    episode = Episode(nothing, np.zeros((1, 0), bool), queries, np.ones((1, 2), bool))
    chance = log_odds(majority(people.pairs_of(np.arange(4))), episode)
    # Three votes against one, and one more on each side: odds of two.
    np.testing.assert_allclose(chance, [[np.log(2), -np.log(2)]])
