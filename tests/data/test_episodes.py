from functools import partial

import jax
import numpy as np
import pytest

from fspo_jax.data.episodes import evaluation_episodes, index_items, sample_episodes
from fspo_jax.errors import DataError
from fspo_jax.types import Preference, User


def make_users(sizes, texts=40, seed=0):
    generator = np.random.default_rng(seed)
    users = []
    for u, size in enumerate(sizes):
        pairs = []
        while len(pairs) < size:
            a, b = generator.choice(texts, 2, replace=False)
            pairs.append(Preference(f"prompt {generator.integers(5)}", f"text {a}", f"text {b}"))
        users.append(User(f"u{u}", tuple(pairs)))
    return users


@pytest.fixture
def table():
    return index_items(make_users([1, 2, 3, 9, 30, 200]))[1]


def sample(table, seed=0, **changes):
    shape = {"batch_size": 256, "max_context": 6, "queries": 4} | changes
    return jax.device_get(jax.jit(partial(sample_episodes, **shape))(jax.random.key(seed), table))


def owner(table, rows):
    """The user of each pair of rows, by the flat list of pairs."""
    of_pair = {}
    for u, (offset, count) in enumerate(zip(table.offsets, table.counts, strict=True)):
        for pair in table.pairs[offset : offset + count].tolist():
            of_pair.setdefault(tuple(sorted(pair)), set()).add(u)
    return [of_pair[tuple(sorted(pair))] for pair in rows.tolist()]


def test_index_items_equal_items_share_a_row_and_equal_texts_an_id():
    users = [User("a", (Preference("p", "x", "y"), Preference("q", "x", "z")))]
    items, table = index_items(users)
    assert items == [("p", "x"), ("p", "y"), ("q", "x"), ("q", "z")]
    np.testing.assert_array_equal(table.pairs, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(table.texts, [0, 1, 0, 2])


def test_index_items_without_users_or_pairs_raises():
    with pytest.raises(DataError, match="no users"):
        index_items([])
    with pytest.raises(DataError, match="'a' has no preferences"):
        index_items([User("a", ())])


def test_sample_episodes_context_and_queries_share_no_text_and_one_user(table):
    episode = sample(table)
    assert episode.query_mask.any(1).mean() > 0.5
    for b in range(len(episode.context)):
        context = episode.context[b][episode.context_mask[b]]
        queries = episode.queries[b][episode.query_mask[b]]
        assert not set(table.texts[context].ravel()) & set(table.texts[queries].ravel())
        used = owner(table, np.concatenate([context, queries]))
        assert not used or set.intersection(*used)


def test_sample_episodes_no_pair_twice():
    table = index_items(make_users([9, 30, 300], texts=50_000))[1]
    episode = sample(table)
    for b in range(len(episode.context)):
        rows = [*episode.context[b][episode.context_mask[b]], *episode.queries[b][episode.query_mask[b]]]
        assert len({tuple(row) for row in rows}) == len(rows)


def test_sample_episodes_number_of_shots_covers_zero_to_the_limit(table):
    large = index_items(make_users([200], texts=2000))[1]
    shots = sample(large, batch_size=4096).context_mask.sum(1)
    counts = np.bincount(shots, minlength=7)
    np.testing.assert_allclose(counts / 4096, 1 / 7, atol=4 * (1 / 7 / 4096) ** 0.5)
    none = sample(large, batch_size=4096, zero_shot_probability=0.5).context_mask.sum(1)
    assert abs((none == 0).mean() - (0.5 + 0.5 / 7)) < 0.04


def test_sample_episodes_long_user_pairs_are_drawn_evenly():
    table = index_items(make_users([500], texts=5000))[1]
    drawn = [sample(table, seed).context for seed in range(20)]
    pairs = {tuple(pair): i for i, pair in enumerate(table.pairs.tolist())}
    counts = np.bincount([pairs[tuple(p)] for d in drawn for p in d.reshape(-1, 2).tolist()], minlength=500)
    expected = counts.sum() / 500
    assert counts.min() > 0 and abs(counts.var() / expected - 1) < 0.5  # as of independent draws


def test_sample_episodes_prolific_users_do_not_dominate():
    table = index_items(make_users([4] * 10 + [4000], texts=5000))[1]
    share = np.diff(table.cumulative, prepend=0)[-1]
    np.testing.assert_allclose(share, 32**0.5 / (32**0.5 + 10 * 4**0.5), rtol=1e-5)


def test_sample_episodes_flip_reverses_context_and_queries_together(table):
    plain, flipped = sample(table), sample(table, flip_probability=1.0)
    np.testing.assert_array_equal(plain.context[..., ::-1], flipped.context)
    np.testing.assert_array_equal(plain.queries[..., ::-1], flipped.queries)


def test_evaluation_episodes_are_fixed_disjoint_and_prefixes(table):
    large = evaluation_episodes(table, max_context=8, queries=4, seed=3)
    again = evaluation_episodes(table, max_context=8, queries=4, seed=3)
    jax.tree.map(np.testing.assert_array_equal, large, again)
    assert large.query_mask[3:].any(1).all()
    for u in range(len(table.counts)):
        context = large.context[u][large.context_mask[u]]
        queries = large.queries[u][large.query_mask[u]]
        assert not set(table.texts[context].ravel()) & set(table.texts[queries].ravel())
        assert (np.diff(large.context_mask[u].astype(int)) <= 0).all()  # valid slots stand in front


def test_evaluation_episodes_user_with_one_pair_has_no_query_beside_a_context(table):
    episode = evaluation_episodes(table, max_context=8, queries=4, seed=0)
    assert episode.context_mask[0].sum() == 0 and episode.query_mask[0].sum() == 1


def test_episodes_of_a_step_are_of_one_cohort_and_all_cohorts_come():
    table = index_items(make_users([9] * 12, texts=1000))[1]
    seen = set()
    for seed in range(30):
        episode = sample(table, seed, batch_size=32, cohort=4)
        users = {min(found) for found in owner(table, episode.context[episode.context_mask])}
        assert len({user // 4 for user in users}) == 1 and len(users) > 1
        seen |= users
    assert seen == set(range(12))
