"""Trainers' hooks, called as their trainers call them (the signatures were read from the versions the files name)."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny_reward import CANDIDATES, PAIRS, make_reward

from fspo_jax.errors import DataError
from fspo_jax.integrations import personal, trl, tunix, verl
from fspo_jax.integrations.personal import PersonalRewards

REWARD = make_reward()
USERS = {"ana": REWARD.adapt(PAIRS), "7": REWARD.adapt(PAIRS[:2])}
EVERYBODY = REWARD.adapt()
PROMPTS = ["q", "q", "other", "q"]
WHO = ["ana", "7", "ana", "stranger"]


def scores(users: list[str]) -> list[float]:
    """What the hooks must return for `CANDIDATES`."""
    return [
        float(USERS.get(user, EVERYBODY).score(prompt, [text])[0])
        for user, prompt, text in zip(users, PROMPTS, CANDIDATES, strict=False)
    ]


def talk(text: str, role: str = "assistant") -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


@pytest.mark.parametrize(
    "completion", [str, talk, lambda text: np.array(text), lambda text: [*talk("hm"), *talk(text)]]
)
def test_every_completion_is_scored_for_its_user(completion: Callable[[str], Any]) -> None:
    rewards = PersonalRewards(USERS, EVERYBODY)
    found = rewards(PROMPTS, [completion(text) for text in CANDIDATES[:4]], ["ana", 7, "ana", "stranger"])
    assert found == pytest.approx(scores(WHO), abs=1e-5)
    assert rewards(PROMPTS, CANDIDATES[:4]) == pytest.approx(scores([""] * 4), abs=1e-5)
    assert rewards([], [], []) == []


@pytest.mark.parametrize("user", [7, 7.0, "7.0", " 7", np.int64(7), np.array("7")])
def test_users_are_found_by_every_spelling_of_their_id(user: Any) -> None:
    expected = [pytest.approx(float(USERS["7"].score("q", ["x"])[0]), abs=1e-5)]
    for known in ("7", 7):
        assert PersonalRewards({known: USERS["7"]}, None)(["q"], ["x"], [user]) == expected


def test_missing_ids_of_a_table_are_nobody() -> None:
    assert PersonalRewards(USERS, None)(["q"] * 3, ["x"] * 3, [None, "", float("nan")]) == [None] * 3


def test_conversations_are_prompts() -> None:
    rewards = PersonalRewards(USERS, None)
    prompt = talk("q", "user")
    assert rewards([prompt], [talk("x")], ["ana"]) == [
        pytest.approx(float(USERS["ana"].score(prompt, ["x"])[0]))
    ]


def test_unknown_users_have_no_reward_unless_they_count_as_people_in_general() -> None:
    found = PersonalRewards(USERS, None)(PROMPTS, CANDIDATES[:4], ["ana", None, "ana", "stranger"])
    assert [value is None for value in found] == [False, True, False, True]


def test_caution_lowers_a_score_by_its_uncertainty() -> None:
    plain, cautious = (
        PersonalRewards(USERS, None, caution=caution)(["q"], ["x"], ["ana"]) for caution in (0, 2)
    )
    deviation = USERS["ana"].score_with_uncertainty("q", ["x"])[1][0]
    assert plain[0] - cautious[0] == pytest.approx(2 * float(deviation), abs=1e-5)


def test_standardized_rewards_vary_alike_for_every_user() -> None:
    rewards = PersonalRewards(USERS, EVERYBODY, standardize=True)
    texts = [f"text {i}" for i in range(200)]
    rewards(["q"] * 200, texts, ["ana"] * 200)
    rewards(["q"] * 200, texts, ["7"] * 200)
    for user in USERS:
        assert np.std(rewards(["q"] * 200, texts, [user] * 200)) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("prompts", "completions", "users"),
    [
        (["q"], ["a", "b"], None),
        (["q"], ["a"], ["ana", "7"]),
        (["q"], ["a"], [7.5]),
        (["q"], ["a"], [["ana"]]),
        (["q"], [3], None),
        (["q"], [[]], None),
        ([3], ["a"], None),
    ],
)
def test_wrong_batches_are_refused(prompts, completions, users) -> None:
    with pytest.raises(DataError):
        PersonalRewards(USERS, EVERYBODY)(prompts, completions, users)


@pytest.mark.parametrize(("users", "caution"), [({"ana": REWARD}, 0.0), ([], 0.0), (USERS, -1.0)])
def test_wrong_rewards_are_refused(users, caution: float) -> None:
    with pytest.raises(DataError):
        PersonalRewards(users, None, caution=caution)


def test_trl_gets_none_for_rows_without_a_reward() -> None:
    function = trl.reward_function(PersonalRewards(USERS, None), column="who")
    assert function.__name__ == "personal_reward"
    found = function(
        prompts=[talk(prompt, "user") for prompt in PROMPTS],
        completions=[talk(text) for text in CANDIDATES[:4]],
        completion_ids=[[1]] * 4,
        who=WHO,
        trainer_state=None,
        log_extra=print,
        log_metric=print,
    )
    assert found[3] is None and all(isinstance(value, float) for value in found[:3])


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the hooks load; returns the arguments that it was loaded with."""
    given: list[tuple] = []

    def load(*arguments: Any) -> PersonalRewards:
        given.append(arguments)
        return PersonalRewards(USERS, EVERYBODY)

    for module in (verl, tunix):
        monkeypatch.setattr(module, "loaded", load)
    return given


def test_verl_scores_one_completion_with_what_its_row_says(people: list[tuple]) -> None:
    info = {"prompt": np.array(talk("q", "user"), object), "user": "ana", "index": 3}
    found = verl.compute_score("set", "x", None, info, users="people.jsonl", num_workers=8)
    assert found == {"score": pytest.approx(float(USERS["ana"].score(talk("q", "user"), ["x"])[0]))}
    assert people == [("fspo-mini", "people.jsonl", 0.0)]
    with pytest.raises(DataError, match="extra_info"):
        verl.compute_score("set", "x", None, {"user": "ana"}, users="people.jsonl")


def test_tunix_takes_the_one_function_of_the_file(
    people: list[tuple], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("reward_file", tunix.__file__)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    public = [
        name
        for name, member in inspect.getmembers(module, inspect.isfunction)
        if member.__module__ == "reward_file" and not name.startswith("_")
    ]
    assert public == ["personal_reward"]
    with pytest.raises(DataError, match="FSPO_USERS"):
        tunix.personal_reward(PROMPTS, CANDIDATES[:4], user=WHO)
    monkeypatch.setenv("FSPO_USERS", "people.jsonl")
    found = tunix.personal_reward(prompts=PROMPTS, completions=CANDIDATES[:4], user=WHO, answer=["x"] * 4)
    assert found == pytest.approx(scores(WHO), abs=1e-5)
    maxtext = tunix.personal_reward(PROMPTS, CANDIDATES[:4], object(), user=WHO)
    assert maxtext == pytest.approx(found)


def test_nemo_environment_rewards_the_last_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class EnvironmentReturn(NamedTuple):
        observations: list
        metadata: list
        next_stop_strings: list
        rewards: Any
        terminateds: Any
        answers: list

    interfaces = types.ModuleType("nemo_rl.environments.interfaces")
    interfaces.EnvironmentInterface, interfaces.EnvironmentReturn = object, EnvironmentReturn  # type: ignore[attr-defined]
    ray = types.ModuleType("ray")
    ray.remote = lambda actor: ("actor", actor)  # type: ignore[attr-defined]
    for name in ("nemo_rl", "nemo_rl.environments"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interfaces.__name__, interfaces)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delitem(sys.modules, "fspo_jax.integrations.nemo_rl", raising=False)
    monkeypatch.setattr(personal.PersonalRewards, "load", lambda *_, **__: PersonalRewards(USERS, EVERYBODY))
    from fspo_jax.integrations.nemo_rl import PersonalEnvironment

    kind, environment = PersonalEnvironment
    logs = [
        [*talk(prompt, "user"), {**talk(text)[0], "token_ids": torch.ones(2)}]
        for prompt, text in zip(PROMPTS, CANDIDATES[:4], strict=True)
    ]
    made = environment({"users": "people.jsonl", "num_workers": 2})
    found = made.step(logs, [{"user": user} for user in WHO])
    expected = [
        float(USERS.get(user, EVERYBODY).score(log[:-1], [log[-1]["content"]])[0])
        for user, log in zip(WHO, logs, strict=True)
    ]
    assert kind == "actor" and found.rewards.tolist() == pytest.approx(expected, abs=1e-5)
    assert found.terminateds.all() and found.answers == CANDIDATES[:4]
    batch, metrics = made.global_post_process_and_metrics({"rewards": found.rewards})
    assert metrics == {"personal_reward": pytest.approx(np.mean(expected), abs=1e-5)} and "rewards" in batch


def test_loaded_people_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        f'{{"user_id": "ana", "prompt": "{pair.prompt}", "chosen": "{pair.chosen}", "rejected": "{pair.rejected}"}}'
        for pair in PAIRS
    ]
    (tmp_path / "people.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr(personal.PersonalizedReward, "load", lambda _: REWARD)
    rewards = PersonalRewards.load("fspo-mini", tmp_path / "people.jsonl", everybody=False)
    found = rewards(["q", "q"], ["x", "x"], ["ana", "bo"])
    assert found == [pytest.approx(float(USERS["ana"].score("q", ["x"])[0]), abs=1e-5), None]
