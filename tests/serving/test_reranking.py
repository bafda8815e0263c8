"""Ranking and scoring over HTTP: the bodies of several makers give what the library gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_reward import CANDIDATES, PAIRS

from fspo_jax.rerank import rerank
from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.requests import pair_json
from fspo_jax.serving.service import Scored
from fspo_jax.types import Message

QUERY = "Which?"
BODY: dict[str, Any] = {"query": QUERY, "documents": CANDIDATES, "user": "ana"}

Serve = Callable[..., TestClient]


def squashed(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def test_scores_far_from_0_are_squashed() -> None:
    rewards = np.array([-1e4, -40.0, 0.0, 1e4], np.float32)
    assert Scored(rewards, rewards).activated() == pytest.approx([0.0, math.exp(-40), 0.5, 1.0])


@pytest.fixture
def client(serve: Serve) -> TestClient:
    client = serve()
    done = client.post("/v1/users/ana/preferences", json={"pairs": [pair_json(pair) for pair in PAIRS]})
    assert done.status_code == 201, done.text
    return client


@pytest.fixture
def expected(tiny: PersonalizedReward) -> list[tuple[int, float]]:
    """Index and score of the candidates for Ana, the best first."""
    return [(line.index, line.score) for line in rerank(tiny.adapt(PAIRS), QUERY, CANDIDATES)]


@pytest.mark.parametrize(
    "path", ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/users/ana/v2/rerank", "/users/ana/rerank"]
)
def test_rerank_orders_as_the_library(
    client: TestClient, expected: list[tuple[int, float]], path: str
) -> None:
    answer = client.post(path, json=BODY | {"model": "tiny:ana"}).json()
    lines = [(line["index"], line["relevance_score"]) for line in answer["results"]]
    assert lines == [(index, pytest.approx(squashed(score))) for index, score in expected]
    assert all(("document" in line) == (not path.endswith("v2/rerank")) for line in answer["results"])
    assert all(line["uncertainty"] > 0 for line in answer["results"])
    assert answer["model"] == "tiny:ana" and answer["usage"]["total_tokens"] > 0
    assert answer["meta"]["billed_units"] == {"search_units": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"top_n": None, "max_tokens_per_doc": None, "return_documents": None, "rank_fields": ["text"]},
        {"top_n": 0, "unheard_of": {"a": [1]}, "model": ""},
        {"documents": [{"text": text} for text in CANDIDATES], "model": "tiny"},
        {"documents": [{"content": [{"type": "text", "text": text}]} for text in CANDIDATES]},
        {"query": {"content": [{"type": "text", "text": QUERY}]}},
    ],
)
def test_rerank_takes_what_clients_send(
    client: TestClient, expected: list[tuple[int, float]], changes: dict[str, Any]
) -> None:
    answer = client.post("/rerank", json=BODY | changes).json()
    assert [line["index"] for line in answer["results"]] == [index for index, _ in expected]


def test_rerank_of_one_string_and_the_best_few(client: TestClient, expected: list[tuple[int, float]]) -> None:
    (line,) = client.post("/rerank", json=BODY | {"documents": "just one"}).json()["results"]
    assert line["index"] == 0 and line["document"] == {"text": "just one"}
    few = client.post("/rerank", json=BODY | {"top_n": 2, "use_activation": False}).json()["results"]
    assert [(line["index"], line["relevance_score"]) for line in few] == [
        (index, pytest.approx(score)) for index, score in expected[:2]
    ]
    assert (
        "document" not in client.post("/rerank", json=BODY | {"return_documents": False}).json()["results"][0]
    )


@pytest.mark.parametrize("way", [{"caution": 3.0}, {"certainty": 1.0}, {"caution": 3, "certainty": 0.99}])
def test_rerank_is_as_cautious_and_as_sure_as_asked(
    client: TestClient, tiny: PersonalizedReward, way: dict[str, float]
) -> None:
    ana, everybody = tiny.adapt(PAIRS), tiny.adapt()
    documents = next(
        [a, b]
        for a in CANDIDATES
        for b in CANDIDATES
        if everybody.score(QUERY, [a, b]).argmax() < ana.score(QUERY, [a, b]).argmax()
    )
    ranked = rerank(ana, QUERY, documents, **way)
    body = {"query": QUERY, "documents": documents, "user": "ana", "use_activation": False}
    answer = client.post("/rerank", json=body | way).json()
    found = [(line["index"], pytest.approx(line["relevance_score"])) for line in answer["results"]]
    assert [(line.index, line.score) for line in ranked] == found
    plain = client.post("/rerank", json=body).json()
    assert [line["relevance_score"] for line in plain["results"]] != [score for _, score in found]
    body = {"query": QUERY, "texts": documents, "raw_scores": True}
    lines = client.post("/users/ana/rerank", json=body | way).json()
    assert [(line["index"], pytest.approx(line["score"])) for line in lines] == found


@pytest.mark.parametrize(
    "way", [{"caution": -1}, {"caution": "much"}, {"certainty": 1.5}, {"certainty": True}]
)
def test_rerank_refuses_a_wrong_caution_or_certainty(client: TestClient, way: dict[str, Any]) -> None:
    answer = client.post("/rerank", json=BODY | way)
    (name,) = way
    assert answer.status_code == 400 and f"request: {name} must be a number" in answer.json()["detail"]


@pytest.mark.parametrize("raw", [False, True])
def test_tei_gets_a_bare_list_of_all_texts(
    client: TestClient, expected: list[tuple[int, float]], raw: bool
) -> None:
    body = {"query": QUERY, "texts": CANDIDATES, "raw_scores": raw, "return_text": raw, "top_n": 2}
    lines = client.post("/users/ana/rerank", json=body).json()
    assert [(line["index"], line["score"]) for line in lines] == [
        (index, pytest.approx(score if raw else squashed(score))) for index, score in expected
    ]
    assert [line.get("text") for line in lines] == [CANDIDATES[i] if raw else None for i, _ in expected]


@pytest.mark.parametrize(
    "keys", [("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2")]
)
@pytest.mark.parametrize("many", [False, True])
def test_score_keeps_the_order_of_the_request(
    client: TestClient, expected: list[tuple[int, float]], keys: tuple[str, str], many: bool
) -> None:
    body = {keys[0]: [QUERY] * len(CANDIDATES) if many else QUERY, keys[1]: CANDIDATES, "model": "tiny:ana"}
    answer = client.post("/score", json=body).json()
    assert {line["index"]: pytest.approx(line["score"]) for line in answer["data"]} == {
        index: squashed(score) for index, score in expected
    }
    assert [line["index"] for line in answer["data"]] == list(range(len(CANDIDATES)))


def test_classify_and_pooling_give_the_reward(client: TestClient, tiny: PersonalizedReward) -> None:
    ana = tiny.adapt(PAIRS)
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    (said,) = ana.score([Message("user", "Hi")], ["Hello!"]).tolist()
    bare = ana.score("", ["one", "two"]).tolist()
    for path, key in (("/classify", "probs"), ("/pooling", "data")):
        raw: dict[str, Any] = {"user": "ana", "use_activation": False}
        (line,) = client.post(path, json=raw | {"messages": talk}).json()["data"]
        assert line[key] == [pytest.approx(said)]
        lines = client.post(path, json=raw | {"input": ["one", "two"]}).json()["data"]
        assert [line[key] for line in lines] == [[pytest.approx(reward)] for reward in bare]
        (line,) = client.post(path, json={"user": "ana", "messages": talk}).json()["data"]
        assert line[key] == [pytest.approx(squashed(said))]


def test_openrlhf_cuts_the_prompt_off_and_reads_users_from_labels(
    client: TestClient, tiny: PersonalizedReward
) -> None:
    client.post("/v1/users/bo/preferences", json=pair_json(PAIRS[1]))
    body = {"query": ["<u>Hi<a>Hello!", "<u>Hi<a>Yes?"], "prompts": ["<u>Hi<a>"] * 2, "labels": ["ana", "bo"]}
    answer = client.post("/get_reward", json=body).json()
    expected = [
        tiny.adapt(pairs).score("<u>Hi<a>", [text]).item()
        for pairs, text in ((PAIRS, "Hello!"), (PAIRS[1:2], "Yes?"))
    ]
    assert answer["rewards"] == pytest.approx(expected)
    assert answer["scores"] == pytest.approx([squashed(score) for score in expected])
    empty = client.post("/get_reward", json={"query": [], "prompts": [], "labels": []})
    assert empty.json() == {"rewards": [], "scores": [], "extra_logs": {}}
    assert client.post("/users/ana/get_reward", json=body).status_code == 400
    assert client.post("/get_reward", json=body | {"user": "ana"}).status_code == 400
    both = client.post("/get_reward", json=body | {"user": "ana", "labels": ["ana", None]}).json()["rewards"]
    no_labels = {key: value for key, value in body.items() if key != "labels"}
    assert client.post("/get_reward", json=no_labels | {"user": "ana"}).json()["rewards"] == both
    assert both == pytest.approx(
        [tiny.adapt(PAIRS).score("<u>Hi<a>", [text]).item() for text in ("Hello!", "Yes?")]
    )
    bo = {"Authorization": "Bearer token-of-bo-00000"}
    assert client.post("/get_reward", json=no_labels | {"user": "ana"}, headers=bo).status_code == 403


def test_decisions_choose_what_the_user_prefers_and_decline_the_rest(
    client: TestClient, tiny: PersonalizedReward
) -> None:
    choices = [{"value": name, "description": text} for name, text in zip("ABC", CANDIDATES, strict=False)]
    questions = [
        {"type": "choice", "name": "pair0", "instructions": "Which?", "choices": choices[:2]},
        {"type": "predicate", "name": "is it true", "instructions": "?"},
        {"type": "choice", "choices": [{"value": True}, {"value": False}, choices[2]]},
    ]
    talk = [{"role": "user", "content": QUERY, "type": "message"}]
    ana = tiny.adapt(PAIRS)
    for given, prompt in ((QUERY, QUERY), (talk, [Message("user", QUERY)])):
        body = {"model": "tiny:ana", "input": given, "questions": questions}
        first, declined, third = client.post("/v1/decisions", json=body).json()["answers"]
        odds = [math.exp(score) for score in ana.score(prompt, CANDIDATES[:2])]
        assert [line["probability"] for line in first["probabilities"]] == pytest.approx(
            [odd / sum(odds) for odd in odds], rel=1e-4
        )
        assert first["choice"] == "AB"[odds.index(max(odds))]
        assert first["name"] == "pair0" and first["confidence"] == pytest.approx(
            max(odds) / sum(odds), rel=1e-4
        )
        assert declined == {"type": "refusal", "name": "is it true"}
        assert [line["value"] for line in third["probabilities"]] == [True, False, "C"]


def test_nobody_named_is_people_in_general(client: TestClient, tiny: PersonalizedReward) -> None:
    everybody = rerank(tiny.adapt(), QUERY, CANDIDATES)
    answer = client.post("/rerank", json={"query": QUERY, "documents": CANDIDATES}).json()
    assert [line["index"] for line in answer["results"]] == [line.index for line in everybody]


def test_unknown_user_is_an_error_unless_the_operator_chose_people_in_general(
    client: TestClient, serve: Serve
) -> None:
    refused = client.post("/rerank", json=BODY | {"user": "eve"})
    assert refused.status_code == 404 and "no user 'eve'" in refused.json()["detail"]
    lenient = serve(unknown_is_population=True)
    assert lenient.post("/rerank", json=BODY | {"user": "eve"}).status_code == 200
    own = serve("token-of-bo-00000")  # a user with a token needs no label
    assert own.post("/rerank", json={"query": QUERY, "documents": CANDIDATES}).status_code == 200


def test_label_counts_at_once_and_in_every_process(
    client: TestClient, serve: Serve, tiny: PersonalizedReward
) -> None:
    def scores(of: TestClient) -> list[float]:
        answer = of.post(
            "/score", json={"queries": QUERY, "documents": CANDIDATES, "user": "ana", "use_activation": False}
        )
        return [line["score"] for line in answer.json()["data"]]

    def known(pairs: list) -> Any:
        return pytest.approx(tiny.adapt(pairs).score(QUERY, CANDIDATES).tolist(), abs=1e-6)

    other = serve()
    for service in (client, other):
        assert scores(service) == known(PAIRS)
    (label,) = client.post(
        "/v1/users/ana/preferences", json={"prompt": "new", "chosen": "x", "rejected": "y"}
    ).json()["ids"]
    assert scores(other) == scores(client) != known(PAIRS)
    other.delete(f"/v1/users/ana/preferences/{label}")
    for service in (client, other):
        assert scores(service) == known(PAIRS)
    client.delete("/v1/users/ana")
    client.post("/v1/users/ana/preferences", json=pair_json(PAIRS[0]))
    for service in (client, other):
        assert scores(service) == known(PAIRS[:1])
