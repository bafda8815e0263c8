"""People that a reward was trained on are found, so that figures about them come with a warning."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tiny_reward import make_reward

from fspo_jax.config import DataConfig, PersonaSource, PreferenceSource
from fspo_jax.data.build import load_split
from fspo_jax.data.sources import load_users
from fspo_jax.evaluation.overlap import community_overlap, training_overlap
from fspo_jax.types import Preference, User


def write_people(path: Path) -> Path:
    rows = [
        {"user_id": f"u{u}", "prompt": "?", "chosen": f"good {i}", "rejected": f"bad {i}"}
        for u in range(20)
        for i in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_people_of_the_train_split_are_counted_and_others_are_not(tmp_path: Path) -> None:
    path = str(write_people(tmp_path / "study.jsonl"))
    data = DataConfig((PreferenceSource(path),), test_fraction=0.5)
    trained, test = load_split(data, "train"), load_split(data, "test")
    (warning,) = training_overlap(data, load_users(path).users)
    assert warning.startswith(
        f"{len(trained)} people are among the training data of this reward (source 'study')."
    )
    assert training_overlap(data, test) == ()
    assert training_overlap(data, trained[:1])[0].startswith("1 person is among")
    # The same id with other pairs is another person.
    namesake = dataclasses.replace(trained[0], preferences=test[0].preferences[:0])
    assert training_overlap(data, [namesake]) == ()


def test_people_of_a_study_with_the_same_name_may_be_trained_on_where_its_file_is_not_here(
    tmp_path: Path,
) -> None:
    users = load_users(write_people(tmp_path / "study.jsonl")).users
    gone = DataConfig((PreferenceSource("elsewhere/study.jsonl"), PersonaSource(0, 10, 10)))
    (warning,) = training_overlap(gone, users)
    assert "trained on people of 'study'" in warning and "may be among them" in warning
    assert training_overlap(gone, [dataclasses.replace(user, source="other") for user in users]) == ()


def test_people_who_may_be_in_the_community_are_counted_and_others_are_not() -> None:
    def user(name: str, *pairs: int) -> User:
        return User(name, tuple(Preference("?", f"good {i}", f"bad {i}") for i in pairs))

    reward = make_reward("three_level_gp")
    ours = reward.for_community([user("a", 0, 1, 2), user("b", 3, 4)])
    others = [user("c", 0, 5), user("d", 6), user("e")]
    assert community_overlap(ours, others) == community_overlap(reward, [user("a", 0, 1, 2)]) == ()
    (warning,) = community_overlap(ours, [user("a", 0, 1, 2), *others, user("b", 4)])
    assert warning.startswith("the community of this reward has labelled all texts of 2 people.")
