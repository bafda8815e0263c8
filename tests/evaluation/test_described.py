"""Rewards that read descriptions of users are measured with true, generated and other users' descriptions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fspo_jax.evaluation.controls import first_pairs
from fspo_jax.evaluation.described import EXPECTED, GENERATED, OTHER_USERS, TRUE, described_methods
from fspo_jax.evaluation.episodes import People
from fspo_jax.evaluation.predict import log_odds
from fspo_jax.types import Preference, User


class DescribedReward:
    """Believes a description: the margin of a pair is its number, if the chosen text begins with the description."""

    writing: Any = SimpleNamespace(describes=True)

    def adapt(self, context: list[Preference]) -> Any:
        return SimpleNamespace(describe=lambda: f"{context[0].chosen.split()[0]} {len(context)}")

    def margins(self, contexts: Any, queries: Any, descriptions: Any) -> tuple[np.ndarray, np.ndarray]:
        mean = np.full(
            (len(queries), max(map(len, queries)) + 1), 9.0
        )  # what is behind a user's queries is not read
        for row, asked, words in zip(mean, queries, descriptions, strict=True):
            row[: len(asked)] = [
                1.0 if pair.chosen.split()[0] == words.split()[0] else -1.0 for pair in asked
            ]
        return mean, np.zeros_like(mean)


def people(described: bool = True) -> People:
    users = [
        User(
            f"u{u}",
            tuple(Preference("?", f"taste{u} {i}", f"other {u} {i}") for i in range(4 + u)),
            "study",
            description=f"taste{u}" if described else "",
        )
        for u in range(3)
    ]
    return People.of(users)


def test_each_user_is_read_with_their_description_in_the_order_of_the_measured_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fspo_jax.evaluation.predict.USERS_PER_BATCH", 2)
    known = people()
    measured = known.episodes(np.array([2, 0, 1]), shots=2, queries=9, seed=0)
    methods = described_methods(DescribedReward(), known, measured, shots=2, seed=0)  # type: ignore[arg-type]
    assert [method.name for method in methods] == [GENERATED, TRUE, OTHER_USERS] == list(EXPECTED)
    mask = measured.episode.query_mask
    for method, expected in zip(methods, (1.0, 1.0, -1.0), strict=True):
        odds = log_odds(method.margins, first_pairs(measured.episode, 2))
        assert (odds[mask] == expected).all() and (odds[~mask] == 0).all()


def test_no_description_is_read_where_nobody_has_one_or_the_reward_reads_none() -> None:
    for reward, known in (
        (DescribedReward(), people(described=False)),
        (SimpleNamespace(writing=None), people()),
    ):
        measured = known.episodes(shots=2, queries=2, seed=0)
        assert described_methods(reward, known, measured, shots=2, seed=0) == []  # type: ignore[arg-type]
