"""The levels of the Gaussian process: everyone, a community, a person, and texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fspo_jax.config import ThreeLevelGPConfig
from fspo_jax.models.features.interaction import INTERACTION, Interaction
from fspo_jax.models.features.style import FEATURES
from fspo_jax.models.scorers.contract import CommunityPairs
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.models.scorers.three_level_map import DOUBT

BLOCKS = {"sentence": 6, "style": len(FEATURES)}
WIDTH = sum(BLOCKS.values())
SCORER = make_scorer(
    ThreeLevelGPConfig("three_level_gp", components=1, community_components=1, newton_steps=12), BLOCKS
)
PARAMS = SCORER.init(jax.random.key(0)) | {"log_text": jnp.array(-0.2)}
OWN, PEOPLE, PAIRS = 3, 3, 4


class World:
    """Random pairs: the first `OWN` and the queries are of person 0, the others of a community."""

    def __init__(self, seed: int = 0, shared_texts: bool = False):
        generator = np.random.default_rng(seed)
        count = PEOPLE * PAIRS + OWN + 2
        self.rows = np.asarray(
            SCORER.represent(PARAMS, generator.normal(size=(count, 2, WIDTH)).astype(np.float32))
        )
        self.texts = (
            generator.integers(0, 8, (count, 2)) if shared_texts else np.arange(2 * count).reshape(-1, 2)
        )
        self.texts[self.texts[:, 0] == self.texts[:, 1], 1] = 99
        self.person = np.repeat([*range(1, PEOPLE + 1), 0], [*[PAIRS] * PEOPLE, OWN + 2])
        self.variance = float(SCORER.text_variance(PARAMS)) if shared_texts else 0.0

    def part(self, places: slice) -> CommunityPairs:
        pairs = self.rows[places]
        weights = np.ones(len(pairs), np.float32)
        variances = np.full((len(pairs), 2), self.variance, np.float32)
        return CommunityPairs(pairs, self.person[places], weights, self.texts[places], variances)


def exact(world: World, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the margins of all pairs given the labels of those known: dual, float64, many steps."""
    difference = (world.rows[:, 0] - world.rows[:, 1]).astype(np.float64)
    offsets, rows = difference[:, 0], difference[:, 1:]
    parts = [1, 6, *[1] * len(FEATURES)]
    common, personal = (
        np.repeat(np.exp(2 * np.asarray(PARAMS[name], np.float64).reshape(-1)) / parts, parts)
        for name in ("log_community", "log_amplitudes")
    )
    gram = rows * common @ rows.T + (world.person[:, None] == world.person) * (rows * personal @ rows.T)
    signs = np.array([1.0, -1.0])
    equal = world.texts[:, :, None, None] == world.texts
    gram += world.variance * np.einsum("iajb,a,b->ij", equal.astype(float), signs, signs)
    inner, f = gram[np.ix_(known, known)], np.zeros(len(known))
    for _ in range(100):
        p = 1 / (1 + np.exp(-(offsets[known] + f)))
        weight = p * (1 - p)
        f = inner @ np.linalg.solve(np.eye(len(f)) + weight[:, None] * inner, weight * f + 1 - p)
    cross = gram[:, known]
    precision = np.linalg.inv(np.diag(1 / weight) + inner)
    mean = offsets + cross @ np.linalg.solve(inner + 1e-9 * np.eye(len(f)), f)
    return mean, np.diag(gram) - (cross @ precision * cross).sum(1)


def predicted(params: dict, world: World, effects: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the margins of person 0's two last pairs after the person's own."""
    first = PEOPLE * PAIRS
    rows = world.rows[first:].copy()
    rows[..., 0] += effects
    state = jax.jit(SCORER.encode_context)(params, rows[:OWN], np.ones(OWN, bool))
    mean = SCORER.score(params, state, rows[OWN:, 0]) - SCORER.score(params, state, rows[OWN:, 1])
    return np.asarray(mean), np.asarray(SCORER.variance(params, state, rows[OWN:, 0], rows[OWN:, 1]))


@pytest.mark.parametrize("people", [0, PEOPLE])
def test_person_inside_a_community_equals_one_gaussian_process_of_all_pairs(people: int) -> None:
    world, community = World(), slice(0, people * PAIRS)
    params = PARAMS
    if people:
        learned = jax.jit(SCORER.learn)(PARAMS, world.part(community))
        params = PARAMS | {"community": learned.community._asdict()}
    known = np.r_[community, PEOPLE * PAIRS : PEOPLE * PAIRS + OWN]
    mean, variance = exact(world, known)
    found = predicted(params, world)
    # The community's part of the joint optimum moves a little with the person's own labels.
    np.testing.assert_allclose(found[0], mean[-2:], atol=0.03 if people else 1e-4)
    np.testing.assert_allclose(found[1], variance[-2:], rtol=0.03 if people else 1e-4)


def test_community_alone_equals_the_joint_posterior_exactly() -> None:
    world, community = World(shared_texts=True), slice(0, PEOPLE * PAIRS)
    learned = jax.jit(SCORER.learn)(PARAMS, world.part(community))
    effect = dict(zip(world.texts[community].ravel(), np.asarray(learned.effects).ravel(), strict=True))
    of_queries = np.vectorize(lambda text: effect.get(text, 0.0))(world.texts[-2:])
    rows = world.rows[-2:].copy()
    rows[..., 0] += of_queries
    difference = rows[:, 0] - rows[:, 1]
    found = difference[:, 0] + difference[:, 1:] @ np.asarray(learned.community.mean[0])
    np.testing.assert_allclose(found, exact(world, np.arange(PEOPLE * PAIRS))[0][-2:], atol=2e-4)
    seen = np.asarray(learned.variances)
    assert (seen < world.variance).all() and (seen > 0).all()


def test_learning_in_two_parts_comes_near_learning_at_once() -> None:
    world = World()
    learn = jax.jit(SCORER.learn)
    whole = learn(PARAMS, world.part(slice(0, 2 * PAIRS))).community
    first = learn(PARAMS, world.part(slice(0, PAIRS))).community
    second = learn(PARAMS | {"community": first._asdict()}, world.part(slice(PAIRS, 2 * PAIRS))).community
    np.testing.assert_allclose(second.mean, whole.mean, atol=0.05)
    assert np.abs(np.asarray(whole.mean)).max() > 0.2


def test_no_pairs_leave_the_prior() -> None:
    world = World()
    empty = world.part(slice(0, PAIRS))._replace(weights=np.zeros(PAIRS, np.float32))
    community = SCORER.learn(PARAMS, empty).community
    np.testing.assert_array_equal(community.mean, 0.0)
    inside, outside = predicted(PARAMS | {"community": community._asdict()}, world), predicted(PARAMS, world)
    np.testing.assert_allclose(inside, outside, rtol=1e-4)


def test_variance_from_kept_spreads_is_the_variance() -> None:
    world = World()
    community = SCORER.learn(PARAMS, world.part(slice(0, PAIRS))).community
    rows = world.rows[-OWN - 2 :]
    candidates, mean = rows[:, 0], rows.mean((0, 1))
    for params in (PARAMS, PARAMS | {"community": community._asdict()}):
        state = SCORER.encode_context(params, rows[:OWN], np.ones(OWN, bool))
        expected = SCORER.variance(params, state, candidates, np.broadcast_to(mean, candidates.shape))
        kept = SCORER.spread(params, candidates)
        np.testing.assert_allclose(
            SCORER.variance(params, state, candidates, mean, kept), expected, rtol=1e-4, atol=1e-5
        )


def test_groups_are_weighed_by_the_evidence_of_the_persons_pairs() -> None:
    world = World()
    rows = world.rows[-OWN - 2 :]
    one = SCORER.learn(PARAMS, world.part(slice(0, PAIRS))).community
    taste = 3.0 * (rows[:OWN, 0] - rows[:OWN, 1])[:, 1:].mean(0)
    groups = {
        "mean": jnp.stack([one.mean[0] + taste, one.mean[0] - taste]),
        "covariance": jnp.repeat(one.covariance, 2, 0),
        "log_weights": jnp.zeros(2),
        "log_kinds": jnp.zeros((2, one.log_kinds.shape[1])),
    }
    state = SCORER.encode_context(PARAMS | {"community": groups}, rows[:OWN], np.ones(OWN, bool))
    assert state.shares[0] > 0.9
    nobody = SCORER.encode_context(PARAMS | {"community": groups}, rows[:OWN], np.zeros(OWN, bool))
    np.testing.assert_allclose(nobody.shares, 0.5, atol=1e-5)
    spread = SCORER.variance(PARAMS | {"community": groups}, nobody, rows[:, 0], rows[:, 1])
    alone = SCORER.variance(
        PARAMS | {"community": {name: leaf[:1] for name, leaf in groups.items()}},
        jax.tree.map(lambda leaf: leaf[:1], nobody)._replace(shares=jnp.ones(1)),
        rows[:, 0],
        rows[:, 1],
    )
    assert (np.asarray(spread) > np.asarray(alone)).all()  # the groups disagree


def test_penalties_belong_to_everyone_whatever_anybody_labels():
    blocks = {"sentence": 6, INTERACTION: Interaction.width, "style": len(FEATURES)}
    scorer = make_scorer(ThreeLevelGPConfig("three_level_gp", components=1, community_components=1), blocks)
    params = scorer.init(jax.random.key(0))
    features = np.random.default_rng(0).normal(size=(9, 2, sum(blocks.values()))).astype(np.float32)
    places = slice(6, 6 + Interaction.width)
    features[..., places] = 0.0
    features[:8, 0, places] = 8.0  # the person always chose what is off-topic and degenerate
    features[8, 1] = features[8, 0]
    features[8, 1, places] = [3.0, 4.0]
    rows = scorer.represent(params, features)
    for rows_of_person in (rows[:8], rows[:8, ::-1]):
        state = scorer.encode_context(params, rows_of_person, np.ones(8, bool))
        fine, penalised = scorer.score(params, state, rows[8])
        assert fine - penalised == pytest.approx(7.0, abs=1e-4)
        doubt = (DOUBT * 7.0) ** 2  # and nothing else: the responses are equal but for their penalties
        assert scorer.variance(params, state, rows[8, :1], rows[8, 1:])[0] == pytest.approx(doubt, rel=1e-5)
