import jax
import numpy as np
import pytest

from fspo_jax.data.episodes import evaluation_episodes, index_items
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
