"""Teaching over HTTP: the next question, explanations, beliefs and contradictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from service_settings import SETTINGS
from starlette.testclient import TestClient
from tiny_reward import CANDIDATES, PAIRS, make_worded_reward

from fspo_jax.asking import next_pairs
from fspo_jax.serving.app import make_app
from fspo_jax.serving.pool import bundled_pool
from fspo_jax.serving.requests import pair_json
from fspo_jax.serving.users import Users

Serve = Callable[..., TestClient]
ROWS = [pair_json(pair) for pair in PAIRS]
POOL = [{"prompt": "q", "candidates": CANDIDATES[:4]}, {"prompt": "p", "candidates": CANDIDATES[4:]}]
ANA = "/v1/users/ana"


def test_next_question_is_that_of_the_reward_and_is_never_one_that_has_a_label(serve: Serve, tiny) -> None:
    client = serve()
    pool = [(entry["prompt"], entry["candidates"]) for entry in POOL]
    for expected in (tiny.adapt(), tiny.adapt(PAIRS[:2])):
        found = client.post(f"{ANA}/next", json={"pool": POOL, "count": 3, "by": "eubo"}).json()["questions"]
        wanted = next_pairs(expected, pool, 3, by="eubo")
        assert [(one["prompt"], one["a"], one["b"]) for one in found] == [one[:3] for one in wanted]
        assert [one["value"] for one in found] == pytest.approx([one.value for one in wanted], abs=1e-5)
        client.post(f"{ANA}/preferences", json={"pairs": ROWS[:2]})
    asked = [{"prompt": row["prompt"], "candidates": [row["rejected"], row["chosen"]]} for row in ROWS]
    left = client.post(f"{ANA}/next", json={"pool": asked, "count": 9, "by": "random"}).json()["questions"]
    assert {one["prompt"] for one in left} == {row["prompt"] for row in ROWS[2:]}
    assert left[0]["value"] is None


def test_next_question_is_about_a_prompt_without_labels(serve: Serve, tiny, monkeypatch) -> None:
    monkeypatch.setattr("fspo_jax.asking.NEW_PROMPT", 0.0)
    client = serve()
    (first,) = next_pairs(tiny.adapt(), [("q", CANDIDATES[:4])], 1)
    other = {"prompt": "p", "candidates": [first.a, first.b + "."]}  # tells less here
    pool = [{"prompt": "q", "candidates": CANDIDATES[:4]}, other]
    label = first.answered("a")
    client.post(f"{ANA}/preferences", json=pair_json(label))
    plain = next_pairs(tiny.adapt([label]), [("q", CANDIDATES[:4]), ("p", other["candidates"])], 1)
    (one,) = client.post(f"{ANA}/next", json={"pool": pool}).json()["questions"]
    assert (plain[0].prompt, one["prompt"]) == ("q", "p")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "pool must be a list"),
        ({"pool": []}, 400, "pool must be a list"),
        ({"pool": ["q"]}, 400, "pool[0]"),
        ({"pool": [*POOL, {"prompt": "q"}]}, 400, "pool[2]: request: 'candidates' is missing"),
        ({"pool": POOL, "count": 0}, 400, "count"),
        ({"pool": POOL, "count": 1000}, 400, "count"),
        ({"pool": POOL, "by": "magic"}, 400, "'bald', 'eubo', 'random'"),
        ({"pool": POOL, "by": ["bald"]}, 400, "'bald', 'eubo', 'random'"),
        ({"pool": [{"prompt": "q", "candidates": ["a"] * 600}] * 2}, 413, "1,200 candidates"),
    ],
)
def test_wrong_pool_says_what_is_allowed(serve: Serve, body, status: int, said: str) -> None:
    answer = serve().post(f"{ANA}/next", json=body)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_explanations_and_contradictions_name_labels_by_their_ids(tmp_path: Path) -> None:
    reward = make_worded_reward()
    app = make_app(reward, Users(str(tmp_path / "users.db")), SETTINGS)
    with TestClient(app, "http://127.0.0.1", headers={"Authorization": "Bearer token-of-ana-0000"}) as client:
        turned = {"prompt": ROWS[1]["prompt"], "chosen": ROWS[1]["rejected"], "rejected": ROWS[1]["chosen"]}
        for row in (ROWS[0], ROWS[0], ROWS[1], turned):  # of contradicting rows at once some are set aside
            client.post(f"{ANA}/preferences", json=row)
        user = reward.adapt([PAIRS[0], PAIRS[1], replace(PAIRS[1], chosen="bad 1", rejected="good 1")])
        body = {"prompt": "q", "candidates": ["One.", "Two sentences. Here."]}
        lines = client.post(f"{ANA}/explain", json=body).json()["explanations"]
        for line, expected in zip(lines, user.explain("q", body["candidates"]), strict=True):
            assert line["above_mean"] == pytest.approx(expected.above_mean, abs=1e-5)
            assert [pull["id"] for pull in line["pulls"]] == [2, 3, 4]
            assert [pull["nats"] for pull in line["pulls"]] == pytest.approx(expected.pulls, abs=1e-5)
            assert line["blocks"] == pytest.approx(dict(expected.blocks), abs=1e-5)
        beliefs = client.get(f"{ANA}/beliefs").json()["beliefs"]
        assert beliefs[0]["said"] == str(user.beliefs(list(bundled_pool().pairs.values()))[0])
        found = client.get(f"{ANA}/contradictions").json()["contradictions"]
        assert {(one["id"], one["against"]) for one in found} >= {(3, 4), (4, 3)}
        assert len(client.get(f"{ANA}/contradictions?limit=1").json()["contradictions"]) == 1


@pytest.mark.parametrize("path", ["explain", "beliefs", "contradictions"])
def test_nobody_is_explained_without_labels_or_scope(serve: Serve, path: str) -> None:
    def ask(client: TestClient, user: str) -> int:
        url = f"/v1/users/{user}/{path}"
        body = {"prompt": "q", "candidates": ["a", "b"]}
        return (client.post(url, json=body) if path == "explain" else client.get(url)).status_code

    client = serve()
    assert ask(client, "ana") == 404
    client.post(f"{ANA}/preferences", json=ROWS[0])
    assert ask(client, "ana") == (400 if path == "beliefs" else 200)  # its features have no names
    assert ask(serve("token-of-bo-00000"), "ana") == 403
    assert ask(serve("token-that-ranks-"), "ana") == 403


@pytest.mark.parametrize("seconds", [-1, 1e9, "1", True])
def test_response_time_is_kept_with_the_label(serve: Serve, seconds) -> None:
    client = serve()
    client.post(f"{ANA}/preferences", json={**ROWS[0], "response_seconds": 2.5})
    client.post(f"{ANA}/preferences", json={**ROWS[1], "response_seconds": None})
    listed = client.get(f"{ANA}/preferences").json()["preferences"]
    assert [row.get("response_seconds") for row in listed] == [2.5, None]
    assert client.get(f"{ANA}/export").json()["pairs"][0]["response_seconds"] == 2.5
    wrong = client.post(f"{ANA}/preferences", json={**ROWS[2], "response_seconds": seconds})
    many = client.post(f"{ANA}/preferences", json={"pairs": ROWS[2:4], "response_seconds": 1.0})
    assert (wrong.status_code, many.status_code) == (400, 400)
    assert "response_seconds" in wrong.json()["detail"]
