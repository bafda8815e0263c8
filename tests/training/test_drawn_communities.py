"""Communities of training: who is in them, which texts they share with the queries, and what the loss makes of them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from fspo_jax.config import EpisodeConfig
from fspo_jax.data.episodes import EpisodeTable, index_items
from fspo_jax.models.scorers.contract import Community, Learned, Scorer, query_margins
from fspo_jax.training import drawn_communities
from fspo_jax.training.drawn_communities import CommunityRows, community_sampler
from fspo_jax.training.sampling import SampledEpisodes, sample_episodes
from fspo_jax.training.tasks.head_communities import RowCommunities, community_margins
from fspo_jax.types import Episode, Preference, User

SHAPE = EpisodeConfig(
    batch_size=12, max_context=3, queries=3, communities=4, community_people=5, community_pairs=2
)
SIZES = {"small": 3, "large": 30}
"""Users of each source."""


@pytest.fixture(scope="module")
def table() -> EpisodeTable:
    """Users have 6 pairs each of 20 texts of their source."""
    generator = np.random.default_rng(0)
    users = []
    for source, size in SIZES.items():
        for number in range(size):
            texts = [generator.choice(20, 2, replace=False) for _ in range(6)]
            pairs = tuple(Preference("?", f"{source} {a}", f"{source} {b}") for a, b in texts)
            users.append(User(f"{source} {number}", pairs, source))
    order = generator.permutation(len(users))
    return index_items([users[i] for i in order])[1]


def drawn(table: EpisodeTable, steps: int = 40) -> list[SampledEpisodes]:
    picks = community_sampler(table, SHAPE)
    sample = jax.jit(lambda key: sample_episodes(key, table, SHAPE, communities=picks))
    return [jax.device_get(sample(jax.random.key(step))) for step in range(steps)]


@pytest.mark.parametrize("disjoint", [0.0, 1.0])
def test_a_community_is_other_people_of_the_source(table: EpisodeTable, disjoint: float, monkeypatch) -> None:
    monkeypatch.setattr(drawn_communities, "DISJOINT", disjoint)
    owners: dict[tuple[int, int], set[int]] = {}
    for user, (offset, count) in enumerate(zip(table.offsets, table.counts, strict=True)):
        for pair in table.pairs[offset : offset + count].tolist():
            owners.setdefault((pair[0], pair[1]), set()).add(user)
    numbers, shared = set(), 0
    for _, users, _, known in (sampled for sampled in drawn(table)):
        assert known is not None
        for part, rows, person, mask in zip(users.reshape(4, 3), *known, strict=True):
            numbers.add(len(set(person[mask])))
            assert len({table.sources[user] for user in part}) == 1
            for number in set(person[mask]):
                own = rows[mask & (person == number)].tolist()
                assert len(own) <= SHAPE.community_pairs
                candidates = set.intersection(*(owners[a, b] for a, b in own)) - set(part)
                assert any(table.sources[user] == table.sources[part[0]] for user in candidates)
    assert 0 in numbers and len(numbers) > 3 and max(numbers) <= SHAPE.community_people
    for sampled in drawn(table):
        episode, known = sampled.episode, sampled.community
        for c in range(4):
            asked = table.texts[episode.queries[3 * c : 3 * c + 3][episode.query_mask[3 * c : 3 * c + 3]]]
            shared += np.isin(table.texts[known.pairs[c][known.mask[c]]], asked).sum()
    assert (shared == 0) == (disjoint == 1.0)


def test_margins_are_those_inside_the_own_community_with_effects_of_seen_texts() -> None:
    """A scorer whose community is the number of its pairs, and whose texts have their id as effect."""

    def learn(params, given):
        mean = given.weights.sum()[None, None]
        return Learned(Community(mean, mean, mean[0], mean), given.texts * 1.0, given.variances)

    nobody = {"mean": np.full((1, 1), -1.0)}
    scorer = Scorer(
        init=lambda key: {},
        represent=lambda params, features: features,
        encode_context=lambda params, context, mask: params.get("community", nobody)["mean"][0, 0],
        score=lambda params, user, rows: user * rows[:, 1] + rows[:, 0],
        variance=None,
        learn=learn,
        text_variance=lambda params: np.float32(1.0),
    )
    features = np.stack([np.zeros(8), np.arange(8)], 1).astype(np.float32)
    queries = np.array([[[3, 2]], [[7, 5]]])
    episode = Episode(np.zeros((2, 1, 2), int), np.zeros((2, 1), bool), queries, np.ones((2, 1), bool))
    pairs = np.array([[[3, 0], [1, 4]], [[6, 0], [0, 1]]])
    known = CommunityRows(pairs, np.array([[0, 1]] * 2), np.array([[True, True], [True, False]]))
    given = episode._replace(context=features[episode.context], queries=features[queries])
    texts = 10 * np.arange(8)
    mean, _ = community_margins(
        scorer,
        {},
        given,
        rows=episode,
        communities=RowCommunities(known, texts),
        pairs=features[pairs],
    )
    # The first community has two pairs, and has seen text 30 of the first query; the second one pair, and none of its.
    np.testing.assert_allclose(mean, [[2 * (3 - 2) + 30.0], [1 * (7 - 5)]])
    alone, _ = community_margins(
        scorer,
        {},
        given,
        rows=episode,
        communities=RowCommunities(known._replace(mask=np.zeros((2, 2), bool)), texts),
        pairs=features[pairs],
    )
    np.testing.assert_allclose(alone, [[-1.0], [-2.0]])
    plain, _ = query_margins(scorer, {"community": {"mean": np.ones((1, 1))}}, given)
    np.testing.assert_allclose(plain, [[1.0], [2.0]])
