"""Who is drawn around measured users, and what methods make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.evaluation.communities import OTHER_TEXTS, SAME_TEXTS, CommunityRows, Inside, draw_neighbours
from fspo_jax.evaluation.community_baselines import (
    CommunityPrior,
    Refit,
    posterior,
    votes,
    with_own_pairs,
    without_community,
    zero_shot_rewards,
)
from fspo_jax.evaluation.community_level import learned_inside
from fspo_jax.evaluation.episodes import People
from fspo_jax.models.scorers.contract import Community, CommunityPairs, Learned, Scorer
from fspo_jax.types import Episode, Preference, User

MOST, PAIRS = 6, 3


def world(users: int, source: str = "a", texts: int = 14, pairs: int = 8) -> list[User]:
    generator = np.random.default_rng([users, len(source)])
    found = []
    for u in range(users):
        chosen = {tuple(generator.choice(texts, 2, replace=False)) for _ in range(pairs)}
        rows = tuple(Preference("?", f"{source}{a}", f"{source}{b}") for a, b in sorted(chosen))
        found.append(User(f"{source}{u}", rows, source))
    return found


def drawn(people: People, seed: int = 0, pool: np.ndarray | None = None, most: int = MOST):
    measured = people.episodes(shots=3, queries=4, seed=0)
    pool = np.arange(len(people.users)) if pool is None else pool
    return measured, draw_neighbours(people, measured, pool, most=most, pairs=PAIRS, seed=seed)


def owners(people: People, pairs: np.ndarray) -> set[int]:
    """The users who gave all of these pairs."""
    rows = {tuple(pair) for pair in pairs.tolist()}
    return {
        u
        for u in range(len(people.users))
        if rows <= {tuple(p) for p in people.pairs_of(np.array([u])).tolist()}
    }


@pytest.fixture(scope="module")
def people() -> People:
    return People.of([*world(12), *world(5, "bb")])


@pytest.mark.parametrize("kind", [OTHER_TEXTS, SAME_TEXTS])
def test_community_is_other_people_of_the_same_source_and_leaves_out_the_other_person(people, kind) -> None:
    measured, found = drawn(people)
    rows = found.communities[kind]
    for u, number in enumerate(measured.numbers):
        other = owners(people, found.other.context[u][found.other.context_mask[u]])
        for g in range(rows.sizes[u]):
            members = owners(people, rows.pairs[u, g][rows.mask[u, g]]) - {number}
            assert members, "the pairs are the measured user's own"
            assert {people.users[v].source for v in members} == {people.users[number].source}
            assert len(members) > 1 or not members <= other


def test_pairs_share_no_text_with_the_queries_unless_they_may(people) -> None:
    measured, found = drawn(people)
    texts = np.asarray(people.table.texts)

    def shared(u: int, pairs: np.ndarray) -> bool:
        asked = texts[measured.episode.queries[u][measured.episode.query_mask[u]]]
        return bool(np.isin(texts[pairs], asked).any())

    users = range(len(measured.numbers))
    assert not any(shared(u, found.communities[OTHER_TEXTS].of(u)[0]) for u in users)
    assert not any(shared(u, found.other.context[u][found.other.context_mask[u]]) for u in users)
    assert any(shared(u, found.communities[SAME_TEXTS].of(u)[0]) for u in users)


def test_small_communities_are_the_first_people_of_large_ones_and_seeds_decide(people) -> None:
    _, large = drawn(people)
    for kind, most in ((OTHER_TEXTS, 2), (SAME_TEXTS, 4)):
        _, small = drawn(people, most=most)
        first = large.communities[kind].first(most)
        np.testing.assert_array_equal(small.communities[kind].pairs, first.pairs)
        np.testing.assert_array_equal(small.communities[kind].mask, first.mask)
    again, other = drawn(people)[1], drawn(people, seed=1)[1]
    np.testing.assert_array_equal(again.communities[SAME_TEXTS].pairs, large.communities[SAME_TEXTS].pairs)
    assert (other.communities[SAME_TEXTS].pairs != large.communities[SAME_TEXTS].pairs).any()


def test_small_study_gives_whom_it_has_and_only_from_the_pool() -> None:
    for users, community in ((1, 0), (2, 0), (3, 1), (5, 3)):
        people = People.of([*world(users, texts=40), *world(9, "bb")])
        measured, found = drawn(people)
        sizes = found.communities[SAME_TEXTS].sizes
        assert sizes[0] == community
        assert (0 in found.has_other) == (users > 1)
    pool = np.arange(3)
    measured, found = drawn(people, pool=pool)
    for u in range(len(measured.numbers)):
        for g in range(found.communities[SAME_TEXTS].sizes[u]):
            assert owners(people, found.communities[SAME_TEXTS].pairs[u, g]) & set(pool.tolist())


def test_other_person_has_as_many_pairs_as_the_user(people) -> None:
    measured, found = drawn(people)
    wanted = measured.episode.context_mask.sum(1)
    np.testing.assert_array_equal(found.other.context_mask.sum(1)[found.has_other], wanted[found.has_other])
    np.testing.assert_array_equal(found.other.queries, measured.episode.queries)


# What methods make of a community: items 0 to 7 have random features and a text each.

FEATURES = np.random.default_rng(3).normal(size=(8, 3)).astype(np.float32)
TEXTS = np.arange(8)


def rows_of(*pairs: tuple[int, int]) -> CommunityRows:
    """A community of one user, a person a pair."""
    found = np.array(pairs, np.int32).reshape(1, -1, 1, 2)
    return CommunityRows(found, np.ones(found.shape[:3], bool))


def episode(own: Sequence[tuple[int, int]], *queries: tuple[int, int]) -> Episode:
    context = np.zeros((1, 2, 2), np.int32)
    context[0, : len(own)] = np.array(own, np.int32).reshape(-1, 2)
    asked = np.array([queries], np.int32)
    return Episode(context, (np.arange(2) < len(own))[None], asked, np.ones(asked.shape[:2], bool))


def logistic(weight: float = 1.0) -> Inside:
    return with_own_pairs(CommunityPrior(FEATURES, TEXTS, 2.0, 0.0), weight)


def items() -> Inside:
    return with_own_pairs(CommunityPrior(FEATURES, TEXTS, 0.0, 2.0), 1.0)


def refit() -> Inside:
    return Refit(lambda rows: (np.zeros(rows.query_mask.shape),) * 2, 8).inside(
        CommunityPrior(FEATURES, TEXTS, 2.0, 0.0)
    )


def learning(features: np.ndarray = FEATURES) -> Inside:
    """A scorer whose community is the mean difference of its pairs, and whose texts are worth their wins."""

    def learn(params, given: CommunityPairs) -> Learned:
        difference = (given.pairs[:, 0] - given.pairs[:, 1])[:, 1:]
        mean = (given.weights[:, None] * difference).sum(0)
        signs = jnp.array([1.0, -1.0]) * given.weights[:, None]
        equal = given.texts[:, :, None, None] == given.texts
        effects = given.variances * (equal * signs).sum((2, 3))
        return Learned(
            Community(mean[None], jnp.ones_like(mean)[None], jnp.zeros(1), jnp.zeros((1, 1))),
            effects,
            effects,
        )

    def encode_context(params, context, mask):
        own = jnp.where(mask[:, None], context[:, 0] - context[:, 1], 0.0).sum(0)[1:]
        return own + (params["community"]["mean"][0] if "community" in params else 0.0)

    scorer = Scorer(
        lambda key: {},
        lambda params, features: jnp.concatenate([jnp.zeros_like(features[..., :1]), features], -1),
        encode_context,
        lambda params, state, candidates: candidates[:, 0] + candidates[:, 1:] @ state,
        None,
        learn=learn,
        text_variance=lambda params: jnp.array(0.5),
    )
    return learned_inside(scorer, {}, features, TEXTS)


METHODS: dict[str, Callable[[], Inside]] = {
    "logistic": logistic,
    "items": items,
    "votes": lambda: votes(TEXTS),
    "refit": refit,
    "learned": learning,
}


def margin(inside: Inside, rows: CommunityRows, own=(), query=(0, 1)) -> float:
    return float(inside(rows, [episode(own, query)])[0][0][0, 0])


@pytest.mark.parametrize("name", METHODS)
def test_method_follows_its_community_and_reads_labels_only_through_order(name: str) -> None:
    inside = METHODS[name]()
    liked = rows_of((0, 1), (0, 1))
    assert margin(inside, liked) > 0.1
    assert margin(inside, rows_of((1, 0), (1, 0))) == pytest.approx(-margin(inside, liked), rel=1e-5)
    assert margin(inside, liked, query=(1, 0)) == pytest.approx(-margin(inside, liked), rel=1e-5)
    nobody = liked._replace(mask=np.zeros_like(liked.mask))
    assert margin(inside, nobody) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_nobody_is_a_community_that_says_nothing(name: str) -> None:
    inside, own = METHODS[name](), episode([(4, 5)], (4, 2))
    nobody = rows_of((0, 1))._replace(mask=np.zeros((1, 1, 1), bool))
    np.testing.assert_allclose(without_community(inside)(own), inside(nobody, [own])[0], atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_padding_and_the_other_versions_change_no_prediction(name: str) -> None:
    inside, liked = METHODS[name](), rows_of((0, 1), (2, 3))
    padded = CommunityRows(np.tile(liked.pairs, (1, 2, 1, 1)), np.array([[[True], [True], [False], [False]]]))
    alone = inside(liked, [episode([(4, 5)], (0, 1), (4, 2))])[0]
    both = inside(padded, [episode([], (0, 1), (4, 2)), episode([(4, 5)], (0, 1), (4, 2))])
    np.testing.assert_allclose(both[1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "items", "votes", "learned"])
def test_own_pairs_move_the_prediction(name: str) -> None:
    inside = METHODS[name]()
    assert margin(inside, rows_of((0, 1)), own=[(1, 0), (1, 0)]) < margin(inside, rows_of((0, 1)))


def test_own_pairs_count_more_with_a_larger_weight() -> None:
    community, own = rows_of((0, 1), (0, 1), (0, 1)), [(1, 0)]
    assert margin(logistic(8.0), community, own) < margin(logistic(1.0), community, own)
    twice = margin(logistic(1.0), community, [(1, 0), (1, 0)])
    assert margin(logistic(2.0), community, own) == pytest.approx(twice, rel=1e-4)


def test_texts_that_nobody_judged_are_a_tie_for_methods_that_know_only_texts() -> None:
    for name in ("items", "votes"):
        assert margin(METHODS[name](), rows_of((0, 1)), query=(6, 7)) == 0.0


def test_learned_effects_of_texts_reach_the_queries_that_hold_them() -> None:
    inside, liked = learning(np.zeros_like(FEATURES)), rows_of((0, 1), (0, 1))
    assert margin(inside, liked) == pytest.approx(2.0)  # two wins of 0, two losses of 1, half a nat each
    assert margin(inside, liked, query=(0, 7)) == pytest.approx(1.0)
    assert margin(inside, liked, query=(6, 7)) == 0.0


def test_refit_starts_from_the_methods_own_reward() -> None:
    worth = np.arange(8.0)

    def margins(rows: Episode) -> tuple[np.ndarray, np.ndarray]:
        return worth[rows.queries[..., 0]] - worth[rows.queries[..., 1]], np.ones(rows.query_mask.shape)

    np.testing.assert_allclose(zero_shot_rewards(margins, 8), worth)
    inside = Refit(margins, 8).inside(CommunityPrior(FEATURES, TEXTS, 2.0, 0.0))
    expected = margin(inside, rows_of((7, 0)), query=(7, 0))
    surprised = margin(inside, rows_of((0, 7)), query=(7, 0))
    assert 7.0 < expected < 7.1  # known already
    assert surprised < 6.0


def test_posterior_is_that_of_a_dense_grid() -> None:
    """One effect, two pairs of different weight: the mode by brute force."""
    prior = CommunityPrior(np.array([[1.0], [0.0]], np.float32), np.array([0, 1]), 1.5, 0.0)
    pairs, weights, offsets = np.array([[0, 1], [1, 0]]), np.array([2.0, 1.0]), np.array([0.3, -0.3])
    mean, variance = posterior(prior, pairs, offsets, weights, np.array([[0, 1]]))
    grid = np.linspace(-5, 5, 200001)
    loss = grid**2 / (2 * 1.5**2)
    for sign, weight, offset in zip((1, -1), weights, offsets, strict=True):
        loss = loss + weight * np.logaddexp(0, -(offset + sign * grid))
    mode = grid[np.argmin(loss)]
    chance = 1 / (1 + np.exp(-(np.array([1, -1]) * mode + offsets)))
    assert mean[0] == pytest.approx(mode, abs=1e-4)
    assert variance[0] == pytest.approx(1 / (1 / 1.5**2 + weights @ (chance * (1 - chance))), rel=1e-4)


def test_nobodys_community_is_the_method_alone() -> None:
    own = episode([(0, 1), (2, 3)], (0, 3), (4, 5))
    alone = without_community(logistic())(own)
    prior = CommunityPrior(FEATURES, TEXTS, 2.0, 0.0)
    mean, variance = posterior(prior, own.context[0], np.zeros(2), np.ones(2), own.queries[0])
    np.testing.assert_allclose(alone, (mean[None], variance[None]))
    assert jax.tree.all(jax.tree.map(np.isfinite, alone[1]).tolist())
