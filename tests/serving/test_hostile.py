"""Malformed and oversized requests: a plain error each, in the form of problem details, and the service goes on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from service_settings import SETTINGS
from starlette.testclient import TestClient
from tiny_reward import PAIRS

from fspo_jax.serving.limits import Gate, Rate
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.requests import pair_json

Serve = Callable[..., TestClient]

RERANK = {"query": "q", "documents": ["a", "b"]}
TEI = {"query": "q", "texts": ["a", "b"]}
SCORE = {"queries": "q", "documents": ["a", "b"]}
CLASSIFY = {"input": ["a", "b"]}
TALK = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
GET_REWARD = {"query": ["qa", "qb"], "prompts": ["q", "q"], "labels": [None, None]}
DECISIONS = {
    "input": "q",
    "questions": [
        {"type": "choice", "name": "n", "choices": [{"value": "A", "description": "a"}, {"value": True}]}
    ],
}
LABELS = {"pairs": [pair_json(PAIRS[0])]}
GOOD = [
    ("/rerank", RERANK),
    ("/v2/rerank", TEI),
    ("/score", SCORE),
    ("/classify", CLASSIFY),
    ("/pooling", TALK),
    ("/get_reward", GET_REWARD),
    ("/v1/decisions", DECISIONS),
    ("/v1/users/ana/preferences", LABELS),
]
ODD: list[Any] = [
    0, -1, 1.5, True, False, "", "x", "\0", "\ud800", [], [[]], {}, {"text": 1}, [None], [1], [{"role": "user"}],
    {"a": {"b": []}}, 10**30, 1e308, "é" * 50_001, ["x"] * 1001, [{"text": None}], [{"content": [{"type": "image"}]}],
]  # fmt: skip

RAW = [
    b"", b"{", b"null", b"1", b'"x"', b"[]", b"\xff\xfe", b"{'query': 1}", b'{"query": NaN}', b'{"query": Infinity}',
    b"[" * 100_000, b'{"a":' * 50_000, b'{"query": ' + b"9" * 5000 + b"}", b'{"query": "q", "documents": ["a"]} x',
    b'{"query": "\\ud800", "documents": ["a"]}', b"\xef\xbb\xbf{}", b"query=q&documents=a",
]  # fmt: skip


@pytest.fixture
def client(serve: Serve) -> TestClient:
    return serve()


def refused(answer: Any, *statuses: int) -> str:
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["error"]["message"]) == (answer.status_code, body["detail"])
    assert body["detail"].endswith(".") and "Traceback" not in body["detail"]
    return body["detail"]


def send(client: TestClient, path: str, content: bytes, **headers: str) -> Any:
    return client.post(path, content=content, headers={"Content-Type": "application/json"} | headers)


@pytest.mark.parametrize("path", [path for path, _ in GOOD])
def test_body_that_is_no_json_object_is_400(client: TestClient, path: str) -> None:
    for content in RAW:
        if path == "/get_reward" and content in (b'{"query": NaN}', b"\xef\xbb\xbf{}"):
            continue
        refused(send(client, path, content), 400)
    assert client.get("/health").status_code == 200


def mutated(good: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    body = json.loads(json.dumps(good))
    key = draw.choice(
        [*body, *body, "top_n", "user", "model", "use_activation", "return_documents", "raw_scores"]
    )
    if draw.random() < 0.15 and key in body:
        del body[key]
    elif draw.random() < 0.3 and isinstance(body.get(key), list):
        body[key][draw.randrange(len(body[key]))] = draw.choice(ODD)
    else:
        body[key] = draw.choice(ODD)
    return body


def test_a_thousand_malformed_bodies_break_nothing(client: TestClient) -> None:
    draw, statuses = random.Random(0), set()
    for number in range(1000):
        path, good = GOOD[number % len(GOOD)]
        content = json.dumps(mutated(good, draw)).encode()
        answer = send(client, path, content)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            refused(answer, 400, 404, 413)
    assert statuses == {200, 201, 400, 404, 413}
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("path", [path for path, _ in GOOD])
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_body_of_another_type_is_415(client: TestClient, path: str, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    refused(client.post(path, content=json.dumps(dict(GOOD)[path]).encode(), headers=headers), 415)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/rerank", 405),
        ("DELETE", "/health", 405),
        ("GET", "/v1/users/..%2fbo", 404),
        ("GET", "/v1/users/a%00b", 400),
        ("GET", "/v1/users/" + "a" * 200, 400),
        ("POST", "/users/a b/rerank", 400),
        ("DELETE", "/v1/users/ana/preferences/99999999999999999999999999", 404),
        ("DELETE", "/v1/users/ana/preferences/-1", 404),
        ("DELETE", "/v1/users/ana/preferences/x", 404),
    ],
)
def test_odd_path_is_a_plain_error(client: TestClient, method: str, path: str, status: int) -> None:
    refused(client.request(method, path, json=RERANK if method == "POST" else None), status)


RATED = [{"response": f"response {i}", "rating": i % 7} for i in range(200)]
TURNS = [{"role": "user", "content": "a"}] * 100_000


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "/v1/users/ana/preferences", [1] * 1_000_000, "1,000,000 pairs; at most 1,000"),
        ("POST", "/v1/users/ana/preferences", {"pairs": [{}] * 1_000_000}, "1,000,000 pairs; at most 1,000"),
        ("POST", "/v1/users/ana/preferences", {"prompt": "p", "completions": RATED}, "more than 1,000 pairs"),
        ("PUT", "/v1/users/ana/preferences/1", {"prompt": "p", "completions": RATED}, "more than 1,000 pairs"),
        ("PUT", "/v1/communities/team", {"people": [[]] * 1_000_000}, "1,000,000 people; at most 10,000"),
        ("PUT", "/v1/communities/team", {"people": [{"prompt": "p", "completions": RATED}]}, "more than 10,000 pairs"),
        ("POST", "/v1/users/ana/next", {"pool": [{"prompt": "p", "candidates": ["a"]}] * 100_000}, "100,000 prompts"),
        ("POST", "/rerank", {"query": TURNS, "documents": ["a"]}, "100,000 messages; at most 1,000"),
        ("POST", "/pooling", {"messages": TURNS}, "100,000 messages; at most 1,000"),
    ],
)  # fmt: skip
def test_many_small_values_are_refused_before_they_are_read(
    client: TestClient, method: str, path: str, body: Any, words: str
) -> None:
    """Or one request would hold up everybody: 200 ratings make 16,000 pairs, and 4,000 make millions."""
    started = time.process_time()
    assert words in refused(client.request(method, path, json=body), 413)
    assert time.process_time() - started < 3.0


def chunks(count: int) -> Iterator[bytes]:
    yield from (b"x" * 100 for _ in range(count))


def test_limits_are_told_with_413(serve: Serve) -> None:
    client = serve(limits=replace(SETTINGS.limits, body=1000, candidates=3, characters=20))
    assert "1,000 bytes" in refused(send(client, "/rerank", b"x" * 1001), 413)
    assert "1,000 bytes" in refused(send(client, "/rerank", chunks(20)), 413)  # type: ignore[arg-type]
    for path, body, words in [
        ("/rerank", RERANK | {"documents": list("abcd")}, "at most 3"),
        ("/rerank", RERANK | {"documents": ["a" * 21]}, "at most 20"),
        ("/rerank", RERANK | {"query": "a" * 21}, "at most 20"),
        ("/classify", {"input": list("abcd")}, "at most 3"),
        ("/v1/users/ana/preferences", {"pairs": [pair_json(pair) for pair in PAIRS]}, "at most 3"),
        ("/v1/users/ana/preferences", pair_json(PAIRS[0]) | {"chosen": "a" * 21}, "at most 20"),
    ]:
        assert words in refused(client.post(path, json=body), 413)


def test_slow_body_is_given_up(serve: Serve) -> None:
    import anyio

    client = serve(limits=replace(SETTINGS.limits, body_seconds=0.05))
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await anyio.sleep(0.04)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def send_(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer token-of-shop-000")]
    scope = {"type": "http", "method": "POST", "path": "/rerank", "headers": headers, "query_string": b""}
    anyio.run(client.app, scope, receive, send_)
    assert sent[0]["status"] == 408


def test_caller_who_asks_too_often_is_told_when_to_come_back(serve: Serve) -> None:
    client = serve(limits=replace(SETTINGS.limits, rate=0.01))
    answers = [client.get("/v1/models") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert 90 <= int(answers[1].headers["retry-after"]) <= 101
    assert client.get("/v1/models", headers={"Authorization": "Bearer token-of-ana-0000"}).status_code == 200


def test_rate_lets_through_what_it_says() -> None:
    now = [0.0]
    rate, passed = Rate(5.0, lambda: now[0]), 0
    for _ in range(1000):
        now[0] += 0.01
        try:
            rate.take("ana")
            passed += 1
        except Refusal:
            pass
    assert 10 / 0.2 + 5 <= passed <= 10 / 0.2 + 11


def test_full_queue_is_503_and_waiting_work_is_finished() -> None:
    import threading

    import anyio

    free, done = threading.Event(), []

    async def main() -> None:
        gate = Gate(running=1, queue=1)

        async def work() -> None:
            done.append(await gate.run(lambda: free.wait(5)))

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            group.start_soon(work)
            await anyio.sleep(0.05)
            with pytest.raises(Refusal, match="waiting already") as refusal:
                await gate.run(lambda: None)
            assert (refusal.value.status, refusal.value.retry_after) == (503, 1.0)
            free.set()
        assert await gate.run(lambda: 7) == 7

    anyio.run(main)
    assert done == [True, True]


def test_fault_of_the_server_is_not_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a secret of the server")

    monkeypatch.setattr(client.app.state.service.rewards, "of", fail)  # type: ignore[attr-defined]
    answer = client.post("/rerank", json=RERANK | {"user": "ana"})
    assert "secret" not in refused(answer, 500)


def test_database_that_fails_is_503(client: TestClient) -> None:
    users = client.app.state.service.users  # type: ignore[attr-defined]
    with users._engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE fspo_labels")
    answer = client.post("/v1/users/ana/preferences", json=LABELS)
    refused(answer, 503)
    assert answer.headers["retry-after"] == "1"
