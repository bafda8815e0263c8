"""A community that is learned with differential privacy of each person."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_reward import StyledFeatures, make_reward

import fspo_jax as fspo
from fspo_jax.errors import DataError, FspoError
from fspo_jax.reward import private
from fspo_jax.reward.private import CLIPS, SHARES, STEPS, Mechanism, Privacy, clipped
from fspo_jax.types import Preference

FEATURES = StyledFeatures()
TASTE = np.random.default_rng(5).normal(size=FEATURES.dimension)
TASTE[10:] *= 0.2

accounting = pytest.importorskip("dp_accounting", reason="dp-accounting is not installed")


def person(number: int, pairs: int = 8, size: float = 0.3) -> list[Preference]:
    """Pairs labelled by the taste that all have in common, with noise."""
    made, generator = [], np.random.default_rng(number)
    for i in range(pairs):
        a, b = f"{number}: {i} a", f"{number}: {i} b"
        first, second = FEATURES(["?", "?"], [a, b])
        wins = generator.random() < 1 / (1 + np.exp(-size * (first - second) @ TASTE))
        made.append(Preference("?", *((a, b) if wins else (b, a))))
    return made


PEOPLE = [person(number) for number in range(60)]
QUERIES = [pair for number in range(100, 140) for pair in person(number, size=10.0)]


@pytest.fixture(scope="module")
def reward() -> fspo.PersonalizedReward:
    return make_reward("three_level_gp")


class NoNoise(Privacy):
    sigma = 0.0  # type: ignore[assignment]


def accuracy(ours: fspo.PersonalizedReward) -> float:
    return float((ours.margins([[]], [QUERIES])[0] > 0).mean())


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-6), (3.0, 1e-5), (20.0, 1e-3)])
def test_noise_is_what_the_accountant_says(epsilon: float, delta: float) -> None:
    """The accountant composes all sums, each with its own noise in units of what one person can add."""
    sigma = Privacy(epsilon, delta).sigma
    mechanism = Mechanism(make_reward("three_level_gp").scoring.scorer, {}, sigma)
    names = ["gradient", "curvature", "people", *["slope", "bend"] * STEPS]
    assert set(names) == set(CLIPS) == set(SHARES)
    events = [accounting.GaussianDpEvent(mechanism.deviation(name) / CLIPS[name]) for name in names]
    together = sum(event.noise_multiplier**-2 for event in events) ** -0.5
    assert accounting.get_epsilon_gaussian(together, delta) == pytest.approx(epsilon, rel=1e-6)
    accountant = accounting.rdp.RdpAccountant()  # an upper bound by another way
    accountant.compose(accounting.ComposedDpEvent(events))
    assert epsilon <= accountant.get_epsilon(delta) * (1 + 1e-6) < 1.5 * epsilon + 0.5


ODD = [
    lambda shape, g: g.normal(size=shape) * 1e30,
    lambda shape, g: np.full(shape, np.nan),
    lambda shape, g: np.full(shape, np.inf),
    lambda shape, g: g.uniform(-1, 1, shape) * 1e308,
    lambda shape, g: g.normal(size=shape) * 1e-320,
    lambda shape, g: np.where(g.random(shape) < 0.1, -np.inf, 1.0),
    lambda shape, g: g.choice([-1.0, 1.0], shape) * 0.3,
    lambda shape, g: np.zeros(shape),
]


@pytest.mark.parametrize("most", [1e-3, 0.75, 10.0])
@pytest.mark.parametrize("odd", ODD)
def test_one_contribution_never_exceeds_the_clip(odd, most: float) -> None:
    rows = odd((50, 37), np.random.default_rng(0))
    found = clipped(rows, most)
    norms = [math.sqrt(math.fsum(float(value) ** 2 for value in row)) for row in found]
    assert np.isfinite(found).all() and max(norms) <= most
    small = np.linalg.norm(rows.clip(-1e100, 1e100), axis=1) < 0.99 * most
    np.testing.assert_array_equal(found[small], np.where(np.isfinite(rows), rows, 0.0)[small])


def adversarial(generator: np.random.Generator, width: int) -> np.ndarray:
    """Representations of a person who wants to be seen: huge, tiny, one-sided, or many equal pairs."""
    count = int(generator.choice([1, 2, 8, 32]))
    size = 10.0 ** generator.uniform(-3, 12)
    rows = generator.normal(size=(count, 2, 1 + width)) * size
    if generator.random() < 0.5:
        rows[:] = rows[:1]
    if generator.random() < 0.5:
        rows[..., 0] *= 1e6
    return rows.astype(np.float32)


def test_one_person_moves_no_sum_by_more_than_the_clip(reward, monkeypatch) -> None:
    """Without noise, every sum with one person more differs by at most the clip, whoever that is."""
    monkeypatch.setattr(private, "standard_normal", np.zeros)
    scoring, generator = reward.scoring, np.random.default_rng(1)
    width = scoring.states.width - 1
    directions = np.diag(generator.uniform(0.01, 2.0, width))
    others = [generator.normal(size=(8, 2, 1 + width)).astype(np.float32) for _ in range(3)]
    for far in (0.0, 3.0):
        for _ in range(25):
            sums = []
            extra = adversarial(generator, width)
            for people in (others, [*others, extra]):
                mechanism = Mechanism(scoring.scorer, scoring.params, 1.0)
                mechanism._contributions = compiled(scoring)
                for rows in people:
                    mechanism.add(np.resize(rows, (32, *rows.shape[1:])))
                found = mechanism._of_people(directions, far)
                sums.append(
                    {
                        "gradient": mechanism.noisy_sum("gradient", found.gradient),
                        "curvature": mechanism.noisy_sum("curvature", found.curvature),
                        "slope": mechanism.noisy_sum("slope", found.gradient[:, :1]),
                        "bend": mechanism.noisy_sum("bend", found.curvature[:, :1]),
                        "people": mechanism.noisy_sum("people", np.ones((len(people), 1))),
                    }
                )
            for name, most in CLIPS.items():
                assert np.linalg.norm(sums[1][name] - sums[0][name]) <= most * (1 + 1e-9)


PROGRAMS: dict[int, object] = {}


def compiled(scoring):
    """The program of contributions, compiled once."""
    if id(scoring) not in PROGRAMS:
        PROGRAMS[id(scoring)] = Mechanism(scoring.scorer, scoring.params, 1.0)._contributions
    return PROGRAMS[id(scoring)]


def test_without_noise_it_comes_near_the_exact_community(reward) -> None:
    exact = reward.for_community(PEOPLE)
    without = reward.for_community(PEOPLE, privacy=NoNoise(100.0, 0.1))
    assert accuracy(without) > accuracy(reward) + 0.15
    assert accuracy(without) > accuracy(exact) - 0.08
    means = [ours.margins([[]], [QUERIES])[0][0] for ours in (without, exact)]
    assert np.corrcoef(means)[0, 1] > 0.75
    assert 0.5 < np.std(means[0]) / np.std(means[1]) < 2.0
    variances = [ours.margins([[]], [QUERIES])[1].mean() for ours in (reward, without)]
    assert variances[1] < variances[0]


def test_noise_is_added_and_differs_each_time(reward) -> None:
    # With much noise the mean may be cut to zero twice.
    first, second = (reward.for_community(PEOPLE, privacy=Privacy(100.0, 1e-5)) for _ in range(2))
    assert np.abs(first.scoring.community["mean"] - second.scoring.community["mean"]).max() > 0
    nobody = reward.for_community(
        privacy=Privacy(3.0, 1e-5)
    )  # no error, which would tell that there is nobody
    assert nobody.scoring.community["people"] >= 1


def test_saved_private_community_says_what_it_is_and_holds_no_text(
    reward, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr("fspo_jax.reward.load.restore_featurizer", lambda *_, **__: FEATURES)
    ours = reward.for_community(PEOPLE, privacy=Privacy(8, 1e-5))
    assert "for a private community of about " in repr(ours) and "(epsilon 8, delta 1e-05)" in repr(ours)
    known = ours.scoring.community
    assert len(known["texts"]["keys"]) == 0 and known["pairs"] == 0
    ours.save(tmp_path / "ours")
    loaded = fspo.PersonalizedReward.load(tmp_path / "ours")
    assert repr(loaded) == repr(ours)
    user = loaded.adapt(PEOPLE[0])
    np.testing.assert_array_equal(user.score("?", ["a", "b"]), ours.adapt(PEOPLE[0]).score("?", ["a", "b"]))
    for call in (
        lambda: loaded.for_community(PEOPLE),
        lambda: loaded.for_community(PEOPLE, privacy=Privacy(1, 1e-5)),
        lambda: fspo.communities(loaded, PEOPLE, 2),
    ):
        with pytest.raises(FspoError, match="private community, which cannot be gone on from"):
            call()


@pytest.mark.parametrize(
    ("epsilon", "delta", "message"),
    [
        (0, 1e-5, "epsilon"),
        (-1, 1e-5, "epsilon"),
        (math.inf, 1e-5, "epsilon"),
        (math.nan, 1e-5, "epsilon"),
        ("3", 1e-5, "epsilon"),
        (3, 0, "delta"),
        (3, 1, "delta"),
        (3, None, "delta"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(epsilon, delta, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Privacy(epsilon, delta)


def test_what_cannot_be_private_says_why(reward, monkeypatch) -> None:
    with pytest.raises(DataError, match=r"privacy must be fspo\.Privacy"):
        reward.for_community(PEOPLE, privacy=3.0)
    with pytest.raises(FspoError, match="knows a community already"):
        reward.for_community(PEOPLE[:2]).for_community(PEOPLE, privacy=Privacy(3, 1e-5))
    with pytest.raises(FspoError, match="'preferential_gp' scorer cannot learn a community"):
        make_reward().for_community(PEOPLE, privacy=Privacy(3, 1e-5))
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(FspoError, match=r"'\.\[privacy\]'"):
        reward.for_community(PEOPLE, privacy=Privacy(3, 1e-5))
