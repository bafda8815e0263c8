"""Two processes of the service in front of one PostgreSQL: what one of them is told, the other knows."""

from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient
from tiny_reward import CANDIDATES

LABELS = "/v1/users/ana/preferences"
PAIR = {"prompt": "Why?", "chosen": CANDIDATES[0], "rejected": CANDIDATES[1]}


def test_label_given_to_one_counts_and_is_forgotten_at_the_other(
    serve: Callable[..., TestClient], postgres: str
) -> None:
    one, other = serve(users=postgres), serve(users=postgres)

    def scores(client: TestClient) -> list[float]:
        answer = client.post("/users/ana/rerank", json={"query": "Why?", "documents": CANDIDATES})
        return [result["relevance_score"] for result in answer.json().get("results", [])]

    assert scores(one) == scores(other) == []
    added = one.post(LABELS, json=PAIR, headers={"Idempotency-Key": "k"}).json()
    liked = scores(other)
    assert liked and liked == scores(one)
    assert other.post(LABELS, json=PAIR, headers={"Idempotency-Key": "k"}).json() == added
    turned = {**PAIR, "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]}
    assert other.put(f"{LABELS}/{added['ids'][0]}", json=turned).status_code == 200
    assert scores(one) == scores(other) != liked
    assert one.delete("/v1/users/ana").status_code in (200, 204)
    assert scores(other) == scores(one) == []
