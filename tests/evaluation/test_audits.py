"""Audits find what they are there for."""

from __future__ import annotations

import numpy as np
import pytest

from fspo_jax.errors import DataError
from fspo_jax.evaluation.audits import Audit, audit
from fspo_jax.types import Preference, User


class Marks:
    """Features are the numbers in a text."""

    blocks, dimension, fingerprint = {"marks": 2}, 2, "marks"

    def __call__(self, prompts: list, responses: list[str]) -> np.ndarray:
        return np.array([[float(word) for word in r.split()[1:3]] for r in responses], np.float32)


def people(seed: int = 0, *, taste: bool = True, longer: str = "") -> list[User]:
    generator = np.random.default_rng(seed)
    users = []
    for u in range(60):
        weights = generator.normal(size=2)
        pairs = []
        for i in range(24):
            values = generator.normal(size=(2, 2)).round(3)
            first = values[0] @ weights > values[1] @ weights if taste else generator.random() < 0.5
            texts = [f"text {v[0]} {v[1]} u{u} p{i}" for v in values]
            chosen, rejected = texts if first else texts[::-1]
            pairs.append(Preference("?", chosen + longer, rejected))
        users.append(User(f"u{u}", tuple(pairs)))
    return users


def named(found: list[Audit], start: str) -> Audit:
    return next(line for line in found if line.name.startswith(start))


def test_clean_data_with_taste_is_not_suspicious_and_the_own_context_helps() -> None:
    found = audit(people(), Marks())
    assert not [line.name for line in found if line.suspicious]
    assert named(found, "own context").value.mean > 0.75
    for control in ("another user's context", "shuffled users"):
        assert abs(named(found, control).value.mean - 0.5) < 0.1


def test_audit_of_a_single_user_compares_with_no_one() -> None:
    names = [line.name for line in audit(people()[:1], Marks())]
    assert any(name.startswith("own context") for name in names)
    assert not any(name.startswith(("another user's", "shuffled users")) for name in names)


@pytest.mark.parametrize("users", [[], [User("u", ())]])
def test_audit_without_pairs_is_refused(users: list[User]) -> None:
    with pytest.raises(DataError):
        audit(users)


def test_labels_without_taste_make_every_context_equally_good() -> None:
    assert named(audit(people(taste=False), Marks()), "own context").value.mean < 0.56


@pytest.mark.parametrize(
    ("tail", "name"),
    [
        (" and so on and so on", "the longer response"),
        ("\n- x", "format alone: lists"),
        (".", "format alone: no full stop"),
    ],
)
def test_a_chosen_response_that_is_formatted_otherwise_is_found(tail: str, name: str) -> None:
    assert named(audit(people(longer=tail)), name).suspicious


def test_duplicate_users_and_pairs_that_come_again_are_found() -> None:
    users = people()
    twins = [*users, User("twin", users[0].preferences)]
    assert named(audit(twins), "users with the same labelled pairs").suspicious
    again = [User(u.user_id, (*u.preferences, u.preferences[0])) for u in users]
    assert named(audit(again), "pairs that the same user").suspicious
    assert not named(audit(users), "pairs that the same user").suspicious
