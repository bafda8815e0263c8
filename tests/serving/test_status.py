"""What the service says about itself: figures for Prometheus, and the description of its routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from tiny_reward import PAIRS

from fspo_jax.serving.requests import pair_json

Serve = Callable[..., TestClient]


def figures(client: TestClient) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_answers_by_route_and_name_no_user(serve: Serve) -> None:
    client = serve()
    client.post("/v1/users/ana/preferences", json=pair_json(PAIRS[0]))
    for path in ("/rerank", "/users/ana/v1/rerank"):
        assert client.post(path, json={"query": "q", "documents": ["a", "b"]}).status_code == 200
    client.post("/rerank", json={})
    client.get("/no/such/path")
    found = figures(client)
    assert found["fspo_requests_total", "rerank", "200"] == 2
    assert found["fspo_requests_total", "rerank", "400"] == 1
    assert found["fspo_requests_total", "append", "201"] == 1
    assert found["fspo_requests_total", "unknown", "404"] == 1
    assert found["fspo_request_seconds_count", "rerank"] == 3
    assert found["fspo_requests_inside", "computing"] == 0
    assert "ana" not in client.get("/metrics").text


@pytest.mark.parametrize(
    ("token", "status"),
    [("", 401), ("token-of-ana-0000", 403), ("token-that-ranks-", 403), ("token-that-reads-", 200)],
)
def test_metrics_are_for_applications_that_may_read(serve: Serve, token: str, status: int) -> None:
    assert serve(token).get("/metrics").status_code == status


def test_who_opens_the_address_comes_to_the_page_and_an_unknown_route_is_named(serve: Serve) -> None:
    client = serve(token="")
    assert client.get("/", follow_redirects=False).headers["location"] == "/teach"
    assert (
        client.get("/v1/rank").json()["detail"] == "there is no route /v1/rank. GET /openapi.json lists all."
    )
    assert client.get("/rerank").json()["detail"] == "/rerank takes POST, not GET."


def test_every_route_is_described_with_its_body(serve: Serve) -> None:
    client = serve(token="")
    found = client.get("/openapi.json").json()
    assert found["paths"]["/v1/users/{user}/preferences/{label}"]["put"]["parameters"][1]["name"] == "label"
    assert "/users/{user}/v2/rerank" in found["paths"]
    operations = [one for path in found["paths"].values() for one in path.items()]
    assert all(one["summary"] for _, one in operations)
    assert all(method not in ("post", "put") or "requestBody" in one for method, one in operations)
    assert len({one["operationId"] for _, one in operations}) == len(operations) > 30


def test_described_bodies_are_answered(serve: Serve) -> None:
    """The examples are bodies as the description allows them, so a key that is described is a key that is read."""
    client = serve()
    described = client.get("/openapi.json").json()["paths"]
    for path, body in {
        "/v1/users/{user}/preferences": pair_json(PAIRS[0]) | {"response_seconds": 1.0},
        "/v1/users/{user}/next": {
            "pool": [{"prompt": "q", "candidates": ["a", "b"]}],
            "count": 1,
            "by": "bald",
        },
        "/v1/users/{user}/explain": {"prompt": "q", "candidates": ["a", {"text": "b"}]},
        "/v2/rerank": {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "user": "ana"},
        "/score": {"queries": "q", "documents": ["a", "b"], "use_activation": False},
        "/classify": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        "/pooling": {"input": ["a"]},
        "/v1/decisions": {"input": "q", "questions": [{"type": "choice", "choices": [{"value": "A"}] * 2}]},
        "/get_reward": {"query": ["qa"], "prompts": ["q"], "labels": ["ana"]},
    }.items():
        schema = described[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        keys = schema.get("properties", schema).keys()
        assert path.endswith("preferences") or set(body) <= set(keys)
        assert client.post(path.replace("{user}", "ana"), json=body).status_code in (200, 201), path
