"""Random episodes of training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import pytest
from tiny_run import tiny_config

from fspo_jax.config import DataConfig, EpisodeConfig, TraitSource
from fspo_jax.data.episodes import EpisodeTable, index_items
from fspo_jax.errors import DataError
from fspo_jax.training.sampling import SampledEpisodes, make_sampler, sample_episodes
from fspo_jax.types import Episode, Preference, User


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


def drawing(table: EpisodeTable, *, cohort: int = 0, **changes: float) -> Callable[[int], Episode]:
    """Episodes as a function of the seed, compiled once."""
    plain = EpisodeConfig(batch_size=256, max_context=6, queries=4, zero_shot_probability=0.0)
    shape = dataclasses.replace(plain, **changes)
    draw = jax.jit(lambda seed: sample_episodes(jax.random.key(seed), table, shape, cohort=cohort).episode)
    return lambda seed: jax.device_get(draw(seed))


def sample(table: EpisodeTable, **changes: float) -> Episode:
    return drawing(table, **changes)(0)


def owner(table, rows):
    """The user of each pair of rows, by the flat list of pairs."""
    of_pair = {}
    for u, (offset, count) in enumerate(zip(table.offsets, table.counts, strict=True)):
        for pair in table.pairs[offset : offset + count].tolist():
            of_pair.setdefault(tuple(sorted(pair)), set()).add(u)
    return [of_pair[tuple(sorted(pair))] for pair in rows.tolist()]


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
    draw = drawing(table)
    drawn = [draw(seed).context for seed in range(20)]
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


@pytest.mark.parametrize("batch", [2, 8])
@pytest.mark.parametrize("flips", [0.0, 0.5])
def test_mirrored_episodes_come_with_their_mirror_image(
    table: EpisodeTable, batch: int, flips: float
) -> None:
    """The second half of a step is the first with all labels swapped: same user, same pairs, same places."""
    shape = EpisodeConfig(batch_size=batch, max_context=6, queries=4, flip_probability=flips, mirrored=True)
    episode, users, given, _ = sample_episodes(jax.random.key(3), table, shape)
    half = batch // 2
    for leaf in (*episode, users, given):
        assert len(leaf) == batch
    for pairs, mask in ((episode.context, episode.context_mask), (episode.queries, episode.query_mask)):
        np.testing.assert_array_equal(pairs[half:], pairs[:half, :, ::-1])
        np.testing.assert_array_equal(mask[half:], mask[:half])
    np.testing.assert_array_equal(users[half:], users[:half])


def test_a_mirrored_step_likes_and_dislikes_every_text_equally_often(table: EpisodeTable) -> None:
    """So what does not depend on the labels of a context has no gradient."""
    episode = sample(table, mirrored=True)
    for pairs, mask in ((episode.context, episode.context_mask), (episode.queries, episode.query_mask)):
        chosen, rejected = (np.bincount(pairs[..., side][mask], minlength=200) for side in (0, 1))
        assert chosen.sum() > 0
        np.testing.assert_array_equal(chosen, rejected)


def test_episodes_of_a_step_are_of_one_cohort_and_all_cohorts_come():
    table = index_items(make_users([9] * 12, texts=1000))[1]
    draw, seen = drawing(table, batch_size=32, cohort=4), set()
    for seed in range(30):
        episode = draw(seed)
        users = {min(found) for found in owner(table, episode.context[episode.context_mask])}
        assert len({user // 4 for user in users}) == 1 and len(users) > 1
        seen |= users
    assert seen == set(range(12))


def two_sources(first: int = 6, second: int = 4) -> EpisodeTable:
    """Users of two sources in turn, each with texts of their own."""
    users = make_users([9] * (first + second), texts=3000)
    names = ["a", "b"] * min(first, second) + ["a" if first > second else "b"] * abs(first - second)
    return index_items(
        [dataclasses.replace(user, source=name) for user, name in zip(users, names, strict=True)]
    )[1]


def mismatched(table: EpisodeTable, **source: int) -> Callable[[int], SampledEpisodes]:
    config = tiny_config(episodes=EpisodeConfig(batch_size=64, max_context=4, queries=3, mismatched=True))
    if source:
        sources = (TraitSource(seed=0, path="", personas=8, **source),)
        config = dataclasses.replace(config, data=DataConfig(sources=sources))
    sampler = jax.jit(make_sampler(config, table))
    return lambda step: jax.device_get(sampler(step, table))


def test_mismatched_context_is_of_any_other_user_of_the_source():
    table = two_sources()
    draw, seen = mismatched(table), set()
    for step in range(20):
        sampled = draw(step)
        episode = sampled.episode
        assert episode.query_mask.any(1).mean() > 0.9 and episode.context_mask.any(1).mean() > 0.4
        for b, user in enumerate(sampled.users.tolist()):
            (own,) = set.intersection(*owner(table, episode.queries[b][episode.query_mask[b]]), {user})
            assert own == user
            if episode.context_mask[b].any():
                (other,) = set.intersection(*owner(table, episode.context[b][episode.context_mask[b]]))
                assert other != user and table.sources[other] == table.sources[user]
                seen.add((user, other))
    assert len(seen) == 6 * 5 + 4 * 3  # every other user of each of the two sources


def test_mismatched_context_of_a_user_with_few_pairs_has_no_pair_twice():
    table = index_items(make_users([2, 9, 9, 2], texts=3000))[1]
    episode = mismatched(table)(0).episode
    shown = [
        context[mask].tolist() for context, mask in zip(episode.context, episode.context_mask, strict=True)
    ]
    assert any(len(pairs) > 2 for pairs in shown)
    assert all(len({tuple(pair) for pair in pairs}) == len(pairs) for pairs in shown)


def test_mismatched_context_stays_in_the_cohort():
    table = index_items(make_users([9] * 9, texts=1000))[1]  # two cohorts of 4, and one user who fills none
    draw = mismatched(table, cohort=4)
    for step in range(10):
        sampled = draw(step)
        for b, user in enumerate(sampled.users.tolist()):
            if sampled.episode.context_mask[b].any():
                shown = sampled.episode.context[b][sampled.episode.context_mask[b]]
                (other,) = set.intersection(*owner(table, shown))
                assert other != user and other // 4 == user // 4


def test_mismatched_contexts_with_one_user_of_a_source_raise():
    with pytest.raises(DataError, match="a source has only one user to train on"):
        mismatched(two_sources(first=3, second=1))
