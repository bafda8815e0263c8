"""Users over HTTP: appending, listing, changing, deleting and exporting labelled pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from service_settings import SETTINGS
from starlette.testclient import TestClient
from tiny_reward import PAIRS

from fspo_jax.serving.requests import AdaptRequest, pair_json

Serve = Callable[..., TestClient]
ROWS: list[dict[str, Any]] = [pair_json(pair) for pair in PAIRS]
ANA = "/v1/users/ana"


def listed(client: TestClient, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"{ANA}/preferences{query}").json()
    return [{key: row[key] for key in ("id", "chosen")} for row in answer["preferences"]]


def test_preferences_are_appended_listed_changed_and_deleted(serve: Serve) -> None:
    client = serve()
    assert client.get(ANA).status_code == 404
    assert client.post(f"{ANA}/preferences", json={"pairs": ROWS[:2]}).json()["ids"] == [1, 2]
    assert client.post(f"{ANA}/preferences", json=ROWS[2]).json()["ids"] == [3]
    chosen = [{"id": i + 1, "chosen": row["chosen"]} for i, row in enumerate(ROWS[:3])]
    assert listed(client) == chosen
    assert listed(client, "?after=1&limit=1") == chosen[1:2]
    assert client.get(ANA).json()["preferences"] == 3
    assert client.put(f"{ANA}/preferences/2", json=ROWS[4]).json() == {"id": 2, **ROWS[4]}
    assert listed(client)[1]["chosen"] == ROWS[4]["chosen"]
    assert client.delete(f"{ANA}/preferences/2").status_code == 204
    assert client.delete(f"{ANA}/preferences/2").status_code == 404
    assert listed(client) == [chosen[0], chosen[2]]
    assert client.delete(ANA).status_code == 204
    assert client.get(f"{ANA}/preferences").status_code == client.delete(ANA).status_code == 404


def test_export_is_what_appending_reads(serve: Serve) -> None:
    client = serve()
    talk = {"prompt": [{"role": "user", "content": "Hi \u2028 <script>"}], "chosen": "é", "rejected": "😀"}
    client.post(f"{ANA}/preferences", json={"pairs": [*ROWS[:2], talk]})
    answer = client.get(f"{ANA}/export")
    assert answer.headers["content-disposition"] == 'attachment; filename="ana.json"'
    pairs = AdaptRequest.from_json(answer.json()).pairs
    assert [pair_json(pair) for pair in pairs] == [*ROWS[:2], talk]
    client.post("/v1/users/bo/preferences", json=answer.json())
    assert [
        pair_json(pair) for pair in AdaptRequest.from_json(client.get("/v1/users/bo/export").json()).pairs
    ] == [pair_json(pair) for pair in pairs]


def test_repeated_request_counts_once(serve: Serve) -> None:
    client = serve()
    first, again, other = (
        client.post(f"{ANA}/preferences", json=row, headers={"Idempotency-Key": "k1"})
        for row in (ROWS[0], ROWS[0], ROWS[1])
    )
    assert first.json() == again.json() and first.status_code == again.status_code == 201
    assert other.status_code == 409 and "other pairs before" in other.json()["detail"]
    assert len(listed(client)) == 1


def test_rows_that_say_nothing_are_told_and_alone_refused(serve: Serve) -> None:
    client = serve()
    tie = {"prompt": "q", "response_a": "a", "response_b": "b", "winner": "tie"}
    mixed = client.post(f"{ANA}/preferences", json=[tie, tie | {"winner": "a"}]).json()
    assert len(mixed["ids"]) == 1 and "1 tie dropped" in mixed["summary"]
    alone = client.post(f"{ANA}/preferences", json=[tie])
    assert alone.status_code == 400 and "1 tie dropped" in alone.json()["detail"]
    two = client.put(f"{ANA}/preferences/1", json=ROWS[:2])
    assert two.status_code == 400 and "there are 2 pairs" in two.json()["detail"]


def test_more_labels_than_allowed_are_refused(serve: Serve) -> None:
    client = serve(limits=replace(SETTINGS.limits, labels=3))
    assert client.post(f"{ANA}/preferences", json=ROWS[:3]).status_code == 201
    refused = client.post(f"{ANA}/preferences", json=ROWS[3])
    assert refused.status_code == 413 and "at most 3" in refused.json()["detail"]


@pytest.mark.parametrize("query", ["?after=-1", "?after=x", "?limit=1e3", "?limit=" + "9" * 30, "?after=٣"])
def test_page_that_is_no_number_is_refused(serve: Serve, query: str) -> None:
    assert serve().get(f"{ANA}/preferences{query}").status_code == 400
