"""Each control changes episodes as it says."""

from __future__ import annotations

import numpy as np

from fspo_jax.evaluation.controls import (
    FLIPPED,
    OTHER_USER,
    SHUFFLED,
    ZERO_SHOTS,
    control_scores,
    first_pairs,
    flipped_labels,
    make_controls,
    mismatched_context,
    other_users,
    shuffled_users,
)
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.predict import Method
from fspo_jax.types import Episode, Preference, User

SOURCES, GROUPS = ["s"] * 6 + ["t"] * 3 + ["alone"], ["x", "x", "y", "y", "z", "z", "p", "p", "q", ""]


def people(pairs: int = 6) -> People:
    """Ten users of three sources; every text is one of its user."""
    users = [
        User(f"u{u}", tuple(Preference("?", f"{u} {i} a", f"{u} {i} b") for i in range(pairs)), source, group)
        for u, (source, group) in enumerate(zip(SOURCES, GROUPS, strict=True))
    ]
    return People.of(users)


def owner_of(known: People, row: int) -> int:
    return int(known.items[row][1].split()[0])


def test_first_pairs_and_flipped_labels_change_the_context_only() -> None:
    episode = people().episodes(shots=4, queries=2, seed=0).episode
    short, flipped = first_pairs(episode, 2), flipped_labels(episode)
    assert (short.context_mask.sum(1) == 2).all() and (episode.context_mask.sum(1) == 4).all()
    np.testing.assert_array_equal(flipped.context[:, :, 0], episode.context[:, :, 1])
    np.testing.assert_array_equal(flipped.context[:, :, 1], episode.context[:, :, 0])
    for changed in (short, flipped):
        np.testing.assert_array_equal(changed.queries, episode.queries)


def test_another_user_is_of_the_source_and_of_the_group_where_it_has_another() -> None:
    for seed in range(20):
        owners = other_users(people().users, seed)
        for user, owner in enumerate(owners[:9].tolist()):
            assert owner != user
            assert SOURCES[owner] == SOURCES[user]
            if GROUPS.count(GROUPS[user]) > 1:
                assert GROUPS[owner] == GROUPS[user]
        assert owners[9] == 9  # the only user of a source has no other


def test_mismatched_context_is_that_of_the_other_user() -> None:
    known = people()
    episode = known.episodes(shots=4, queries=2, seed=0).episode
    owners = other_users(known.users, 0)
    changed = mismatched_context(episode, owners)
    for user, owner in enumerate(owners.tolist()):
        assert {owner_of(known, row) for row in changed.context[user].ravel().tolist()} == {owner}
        assert {owner_of(known, row) for row in changed.queries[user].ravel().tolist()} == {user}


def test_shuffled_users_keep_their_number_of_pairs_and_their_source() -> None:
    known = people()
    chosen = np.array([0, 1, 2, 3, 6, 7, 8, 9])
    dealt = shuffled_users(known, chosen, 0)
    before, after = np.asarray(known.table.pairs), np.asarray(dealt.table.pairs)
    assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))
    np.testing.assert_array_equal(known.table.counts, dealt.table.counts)
    for user in range(10):
        owners = {owner_of(known, row) for row in dealt.pairs_of(np.array([user])).ravel().tolist()}
        assert {SOURCES[owner] for owner in owners} == {SOURCES[user]}
        assert (len(owners) > 1) == (user in chosen and user != 9)  # users 4 and 5 were not asked for


def test_control_scores_of_a_method_that_reads_the_owner_of_a_pair() -> None:
    """It predicts right where the last context pair is of the queries' user, wrong where it is not."""
    known = people()
    owner = np.array([owner_of(known, row) for row in range(len(known.items))])

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        own = (owner[rows.context[:, :, 0]] == owner[rows.queries[:, :1, 0]]) | ~rows.context_mask
        side = np.where(rows.context_mask.any(1), np.where(own.all(1), 1.0, -1.0), 0.0)
        right = np.where(
            rows.context[:, 0, 0] < rows.context[:, 0, 1], side, -side
        )  # the chosen row comes first
        return np.broadcast_to(right[:, None], rows.query_mask.shape), np.zeros(rows.query_mask.shape)

    measured = known.episodes(shots=3, queries=2, seed=0)
    scores = control_scores(Method("owner", margins), make_controls(known, measured, seed=0), 3)
    assert (scores[ZERO_SHOTS].accuracy == 0.5).all() and (scores[ZERO_SHOTS].gain == 0).all()
    assert (scores[FLIPPED].accuracy == 0.0).all() and (scores[FLIPPED].gain == -0.5).all()
    assert (scores[OTHER_USER].accuracy == 0.0).all()
    assert 9 not in scores[OTHER_USER].users and 9 not in scores[SHUFFLED].users
    assert scores[SHUFFLED].accuracy.mean() < 0.2  # contexts of one owner are rare
    np.testing.assert_array_equal(scores[SHUFFLED].gain, scores[SHUFFLED].accuracy - 0.5)


def test_one_user_has_no_control_by_others() -> None:
    users = people().users[:1]
    known = People.of(users)
    controls = make_controls(known, known.episodes(shots=2, queries=2, seed=0), seed=0)
    assert [control.name for control in controls] == [ZERO_SHOTS, FLIPPED]
