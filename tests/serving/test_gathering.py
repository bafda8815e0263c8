"""Communities over HTTP: what they learn, who is ranked inside, who may ask, and what a deletion leaves."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from service_settings import SETTINGS, TOKENS
from starlette.testclient import TestClient
from tiny_reward import CANDIDATES, PAIRS, make_reward, make_worded_reward

from fspo_jax.errors import CheckpointError
from fspo_jax.reward import PersonalizedReward
from fspo_jax.reward.community import community_bytes, scoring_with_community
from fspo_jax.reward.engines.scorer_programs import programs_of
from fspo_jax.serving.app import make_app
from fspo_jax.serving.choosing import choose_question, everything_known
from fspo_jax.serving.pool import Pool
from fspo_jax.serving.requests import AdaptRequest, pair_json
from fspo_jax.serving.routes.gathering import learn
from fspo_jax.serving.service import Service
from fspo_jax.serving.stored import BelongsElsewhere, Posterior
from fspo_jax.serving.users import Users
from fspo_jax.types import Preference

ROWS = [pair_json(pair) for pair in PAIRS]
OTHERS = [[Preference("q", f"yes {i} {j}", f"no {i} {j}") for j in range(3)] for i in range(4)]
TEAM = "/v1/communities/team"
Start = Callable[..., TestClient]


@pytest.fixture(scope="module")
def reward() -> PersonalizedReward:
    return make_reward("three_level_gp")


@pytest.fixture
def start(reward: PersonalizedReward, tmp_path: Path) -> Iterator[Start]:
    """`start(token)` is a client of one more process behind the same database."""
    opened: list[TestClient] = []

    def make(
        token: str = "token-of-shop-000", served: PersonalizedReward = reward, **limits: Any
    ) -> TestClient:
        settings = replace(SETTINGS, limits=replace(SETTINGS.limits, **limits))
        app = make_app(served, Users(str(tmp_path / "users.db")), settings)
        headers = {"Authorization": f"Bearer {token}"}
        client = TestClient(app, "http://127.0.0.1", raise_server_exceptions=False, headers=headers)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__()


def people_json(people: list[list[Preference]]) -> list[Any]:
    return [[pair_json(pair) for pair in pairs] for pairs in people]


def scores(client: TestClient, user: str) -> list[float]:
    body = {"queries": "Which?", "documents": CANDIDATES[:4], "use_activation": False}
    answer = client.post(f"/users/{user}/score", json=body)
    assert answer.status_code == 200, answer.text
    return [line["score"] for line in answer.json()["data"]]


def close(reward: PersonalizedReward, pairs: list[Preference]) -> Any:
    return pytest.approx(reward.adapt(pairs).score("Which?", CANDIDATES[:4]).tolist(), abs=1e-4)


def test_members_are_ranked_inside_what_members_and_others_taught(start: Start, reward) -> None:
    client = start()
    client.post("/v1/users/ana/preferences", json=ROWS[:2])
    made = client.put(TEAM, json={"members": ["ana", "zoe"], "people": people_json(OTHERS)})
    assert made.status_code == 201
    assert {key: made.json()[key] for key in ("id", "members", "people", "pairs")} == {
        "id": "team", "members": ["ana", "zoe"], "people": 5, "pairs": 14,
    }  # fmt: skip
    ours = reward.for_community([PAIRS[:2], [], *OTHERS])
    assert scores(client, "ana") == close(ours, PAIRS[:2])
    assert scores(client, "zoe") == close(ours, [])
    assert scores(client, "zoe") != close(reward, [])
    other = start()  # another process behind the same database
    assert scores(other, "ana") == close(ours, PAIRS[:2])

    client.post("/v1/users/zoe/preferences", json=ROWS[2])
    again = client.put(TEAM, json={})
    assert again.status_code == 200 and again.json()["people"] == 2 and again.json()["pairs"] == 3
    anew = reward.for_community([PAIRS[:2], PAIRS[2:3]])
    for process in (client, other):
        assert scores(process, "ana") == close(anew, PAIRS[:2])
        assert scores(process, "zoe") == close(anew, PAIRS[2:3])

    assert client.get("/v1/users/ana").json()["community"] == "team"
    kept = client.get("/v1/users/ana/export").json()
    assert kept["community"] == "team" and AdaptRequest.from_json(kept).pairs == tuple(PAIRS[:2])
    assert client.delete(TEAM).status_code == 204
    assert client.delete(TEAM).status_code == client.get(TEAM).status_code == 404
    assert scores(other, "ana") == close(reward, PAIRS[:2])
    assert client.get("/v1/users/ana").json()["community"] is None


def test_after_warm_up_no_member_waits_for_the_compiler(reward, tmp_path: Path, caplog) -> None:
    users, pool = Users(str(tmp_path / "users.db")), Pool([("?", ("one", "two", "three"))])

    def started() -> Service:
        service = Service(reward, users, replace(SETTINGS, pool=pool))
        service.warm_up()
        return service

    def make(service: Service, name: str) -> None:
        users.communities.replace(name, [f"member-{name}"], learn(service, OTHERS, None))

    def compiled_for(service: Service, name: str) -> list[str]:
        caplog.clear()
        with jax.log_compiles():
            member = service.reward_of(f"member-{name}").reward
            member.score("Which?", CANDIDATES)
            member.explain("Which?", CANDIDATES[:2])
            choose_question(service, f"member-{name}", everything_known(service, f"member-{name}"))
        return caplog.messages

    service = started()
    make(service, "first")
    assert compiled_for(service, "first") == []
    programs_of.cache_clear()  # as in another process
    service = started()
    assert compiled_for(service, "first") == []
    make(service, "second")
    assert compiled_for(service, "second") == []
    users.close()


def test_users_join_and_leave_and_a_deleted_user_is_gone_at_the_next_learning(start: Start, reward) -> None:
    client = start()
    client.post("/v1/users/ana/preferences", json=ROWS[:2])
    client.post("/v1/users/bo/preferences", json=ROWS[2:4])
    client.put(TEAM, json={"members": ["ana", "bo"]})
    assert client.put("/v1/users/zoe/community", json={"community": "team"}).json() == {
        "id": "zoe", "community": "team",
    }  # fmt: skip
    both = reward.for_community([PAIRS[:2], PAIRS[2:4]])
    assert scores(client, "zoe") == close(both, [])
    client.delete("/v1/users/bo")
    assert client.get(TEAM).json()["members"] == ["ana", "zoe"]
    assert scores(client, "zoe") == close(both, [])  # as the documentation says
    assert client.put(TEAM, json={}).json()["people"] == 1
    assert scores(client, "zoe") == close(reward.for_community([PAIRS[:2]]), [])
    assert client.delete("/v1/users/zoe/community").status_code == 204
    assert client.delete("/v1/users/zoe/community").status_code == 404
    assert scores(client, "zoe") == close(reward, [])
    assert client.put("/v1/users/zoe/community", json={"community": "none"}).status_code == 404


def test_user_belongs_to_one_community_and_a_refusal_changes_nothing(start: Start) -> None:
    client = start()
    client.post("/v1/users/ana/preferences", json=ROWS[:2])
    client.put(TEAM, json={"members": ["ana"]})
    before = client.get(TEAM).json()
    refused = client.put("/v1/communities/club", json={"members": ["bo", "ana"]})
    assert refused.status_code == 409 and "belongs to the community 'team'" in refused.json()["detail"]
    assert client.get("/v1/communities/club").status_code == 404
    assert client.get("/v1/users/bo").status_code == 404
    client.put("/v1/communities/club", json={"people": people_json(OTHERS)})
    assert client.put("/v1/users/ana/community", json={"community": "club"}).status_code == 409
    assert client.get(TEAM).json() == before
    found = client.get("/v1/communities").json()["communities"]
    assert [one["id"] for one in found] == ["club", "team"]
    paged = client.get("/v1/communities?after=club&limit=1").json()["communities"]
    assert [one["id"] for one in paged] == ["team"]


def test_no_text_of_other_people_is_kept(start: Start, tmp_path: Path) -> None:
    client = start()
    client.put(TEAM, json={"people": people_json(OTHERS)})
    shown = client.get(TEAM).text + client.get("/v1/communities").text
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert "yes 1" not in shown and b"yes 1" not in kept


ROUTES = [
    ("GET", "/v1/communities", None, "read"),
    ("GET", TEAM, None, "read"),
    ("PUT", TEAM, {"members": ["ana"]}, "write"),
    ("DELETE", TEAM, None, "write"),
    ("PUT", "/v1/users/bo/community", {"community": "team"}, "write"),
    ("DELETE", "/v1/users/ana/community", None, "write"),
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]} {route[1]}")
def test_communities_are_for_applications_with_the_scope(start: Start, route: tuple[Any, ...]) -> None:
    method, path, body, scope = route
    shop = start()
    shop.post("/v1/users/ana/preferences", json=ROWS[:2])
    shop.put(TEAM, json={"members": ["ana"]})
    before = shop.get(TEAM).json()
    for token, bound in TOKENS.items():
        if "user" in bound or scope not in bound.get("scopes", [scope]):
            answer = shop.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 403, token
            assert "ana" not in answer.text
    assert shop.get(TEAM).json() == before
    assert shop.request(method, path, json=body).status_code in (200, 204)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "no labelled pair"),
        ({"members": ["nobody"]}, 400, "no labelled pair"),
        ({"members": "ana"}, 400, "members must be a list"),
        ({"members": ["a b"]}, 400, "members[0] must be"),
        ({"members": [f"u{i}" for i in range(1001)]}, 413, "1,001 members"),
        ({"people": {}}, 400, "people must be a list"),
        ({"people": [[{"prompt": "q"}]]}, 400, "people[0]"),
        ({"people": [[ROWS[0] | {"chosen": "x" * 60_000}]]}, 400, "60,000 characters"),
        ({"people": [ROWS[:3], ROWS[3:]]}, 413, "5 pairs; at most 4"),
        ({"description": 7}, 400, "description"),
        ({"description": "poets"}, 400, "learn_descriptions"),
    ],
)
def test_wrong_body_says_what_is_allowed(start: Start, body: Any, status: int, said: str) -> None:
    client = start(labels=4)
    answer = client.put(TEAM, json=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert client.get(TEAM).status_code == client.get("/v1/users/nobody").status_code == 404


@pytest.mark.parametrize(
    "path", ["/v1/communities/a%20b", "/v1/communities/..", "/v1/communities/" + "x" * 129]
)
def test_odd_id_is_refused(start: Start, path: str) -> None:
    assert start().put(path, json={"people": people_json(OTHERS)}).status_code in (400, 404)


def test_reward_without_communities_and_another_reward_say_so(start: Start) -> None:
    plain = start(served=make_reward())
    refused = plain.put(TEAM, json={"people": people_json(OTHERS)})
    assert refused.status_code == 400 and "cannot learn a community" in refused.json()["detail"]
    client = start()
    client.put(TEAM, json={"members": ["zoe"], "people": people_json(OTHERS)})
    newer = start(served=make_worded_reward())
    answer = newer.post("/users/zoe/rerank", json={"query": "q", "documents": ["a"]})
    assert answer.status_code == 409 and "PUT /v1/communities/team" in answer.json()["detail"]
    assert newer.put(TEAM, json={"people": people_json(OTHERS)}).status_code == 200
    assert len(scores(newer, "zoe")) == 4


def test_bytes_of_a_community_bring_it_back_and_damage_is_told(reward) -> None:
    ours = reward.for_community(OTHERS)
    data = community_bytes(ours.scoring)
    again = replace(reward, scoring=scoring_with_community(reward.scoring, data))
    assert again.fingerprint == ours.fingerprint
    np.testing.assert_array_equal(*(one.adapt().score("q", CANDIDATES) for one in (again, ours)))
    for damaged in (b"", data[:100], data[:-8]):
        with pytest.raises(CheckpointError, match="cannot be read"):
            scoring_with_community(reward.scoring, damaged)
    with pytest.raises(CheckpointError):
        scoring_with_community(make_reward().scoring, data)


def test_store_keeps_communities_members_and_versions_on_every_database(users: Users) -> None:
    store, learned = users.communities, Posterior(1, 2, "f", b"\0\xff")
    assert users.append("ana", PAIRS[:1]) == [1]
    alone = users.version("ana")
    assert store.replace("team", ["bo", "ana"], learned) and store.posterior("team") == learned
    inside = users.version("ana")
    assert alone and inside and inside.community and inside[:2] == alone[:2]
    assert not store.replace("team", ["ana", "bo"], learned._replace(data=b"more"))
    later = users.version("ana")
    assert later and later.community and later.community.changes == inside.community.changes + 1
    for work in (
        lambda: store.join("bo", "club"),
        lambda: store.replace("club", ["zoe", "bo"], learned),
    ):
        store.replace("club", [], learned)
        with pytest.raises(BelongsElsewhere, match="belongs to the community 'team'"):
            work()
    assert users.find("zoe") is None and not store.join("ana", "none")
    assert [one.version.id for one in store.listed("", 9)] == ["club", "team"]
    assert [one.version.id for one in store.listed("club", 9)] == ["team"]
    assert store.leave("bo") and not store.leave("bo") and store.join("bo", "club")
    assert users.delete("bo")
    found = store.find("club")
    assert found and found.members == ()
    assert store.delete("team") and not store.delete("team")
    assert users.version("ana") == alone and store.posterior("team") is None


def test_who_joins_or_is_deleted_while_a_community_learns_stays_so(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start()
    for user, rows in {"ana": ROWS[:2], "bo": ROWS[2:4]}.items():
        client.post(f"/v1/users/{user}/preferences", json=rows)
    client.put(TEAM, json={"members": ["ana", "bo"]})
    learned = PersonalizedReward.for_community

    def learn_slowly(*given: Any, **named: Any) -> PersonalizedReward:
        client.delete("/v1/users/bo")
        assert client.put("/v1/users/zoe/community", json={"community": "team"}).status_code == 200
        return learned(*given, **named)

    monkeypatch.setattr(PersonalizedReward, "for_community", learn_slowly)
    found = client.put(TEAM, json={}).json()
    assert (found["members"], found["people"]) == (["ana", "zoe"], 2)  # learned from bo before the deletion
    assert client.get("/v1/users/bo").status_code == 404
    client.post("/v1/users/bo/preferences", json=ROWS[2:4])
    found = client.put(TEAM, json={"members": ["ana", "bo", "new"]}).json()
    assert found["members"] == ["ana", "new"]
    assert client.get("/v1/users/bo").status_code == 404


def test_writers_of_users_and_communities_at_once_do_not_block_each_other(users: Users) -> None:
    names, faults = ["ana", "bo", "zoe"], []
    users.communities.replace("team", names, Posterior(1, 2, "f", b"data"))

    def write(number: int) -> None:
        try:
            for i in range(6):
                turned = names[number:] + names[:number]
                if number < 2:
                    users.communities.replace("team", turned, Posterior(1, i, "f", b"data"))
                else:
                    users.append(turned[i % 3], PAIRS[:1])
                    users.delete(turned[(i + 1) % 3])
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults and not any(thread.is_alive() for thread in threads)


def test_database_from_before_communities_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    users = Users(str(path))
    users.append("ana", PAIRS[:1])
    users.close()
    with sqlite3.connect(path) as connection:
        for table in ("fspo_members", "fspo_communities"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE fspo_format SET number = 2")
    connection.close()
    users = Users(str(path))
    before = users.version("ana")
    assert users.communities.replace("team", ["ana"], Posterior(1, 2, "f", b"data"))
    assert users.version("ana") != before
    with pytest.raises(BelongsElsewhere):
        users.communities.replace("club", ["ana"], Posterior(1, 2, "f", b"data"))
    assert users.delete("ana")
    found = users.communities.find("team")
    assert found and found.members == ()
    users.close()
