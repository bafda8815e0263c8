"""Requests and answers: from and to JSON without loss, and errors that name the path."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from fspo_jax.arguments import shown
from fspo_jax.errors import DataError
from fspo_jax.serving.requests import (
    RERANK_KEYS,
    AdaptRequest,
    EncodeRequest,
    RerankRequest,
    RerankResponse,
)
from fspo_jax.types import Message, Preference, RankedCandidate

CHAT = [{"role": "user", "content": "Why?"}]
PAIR = {"prompt": CHAT, "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    "body",
    [
        {"pairs": [PAIR]},
        [PAIR],
        PAIR,
        json.dumps({"pairs": [PAIR]}).encode(),
        json.dumps(PAIR).encode(),
        {"pairs": [{**PAIR, "user_id": 7}]},
        {"pairs": [{"messages": CHAT, "response_a": "b", "response_b": "a", "winner": "b"}]},
        {"pairs": [{"prompt": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}], "chosen": [
            {"role": "assistant", "content": "a", "refusal": None}], "rejected": "b"}]},
    ],
)  # fmt: skip
def test_adapt_request_takes_every_shape_and_gives_its_json_back(body: Any) -> None:
    request = AdaptRequest.from_json(body)
    assert request == AdaptRequest((Preference(CHAT, "a", "b"),))
    assert request.to_json() == {"pairs": [PAIR]}
    assert AdaptRequest.from_json(json.loads(json.dumps(request.to_json()))) == request


def test_adapt_request_says_what_was_set_aside() -> None:
    request = AdaptRequest.from_json([PAIR, PAIR, {**PAIR, "chosen": "b", "rejected": "a"}])
    assert len(request.pairs) == 1
    assert request.summary.startswith("1 of 3 rows kept; 2 set aside: duplicate 1, contradiction 1")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"pairs": [PAIR, {"prompt": "x"}]}, "request, pair 2: 'chosen' is missing."),
        ({"pairs": [{"prompt": "x"}]}, "request, pair 1: 'chosen' is missing."),
        ({"pairs": [PAIR, 3]}, "request, pair 2: the row must be an object, not int."),
        ({"pairs": [{**PAIR, "chosen": ""}]}, "request, pair 1: chosen is empty."),
        ({"pairs": [{**PAIR, "rejectd": ""}]}, "request: unknown column 'rejectd'. Did you mean 'rejected'?"),
        ({"pairs": 3}, "request: pairs must be a list of rows such as {prompt, chosen, rejected}, not 3."),
        (3, "request: pairs must be a list of rows such as {prompt, chosen, rejected}, not 3."),
        ({"prompt": "x"}, "request, pair 1: 'chosen' is missing."),
        (__file__, f"request: must be an object with pairs, not {shown(__file__)}."),  # opens no file
        (
            {"pairs": [{**PAIR, "user_id": 1}, {**PAIR, "user_id": 2, "chosen": "c"}]},
            "request: the pairs belong to 2 users, but a reward adapts to one at a time. Keep the rows of one user.",
        ),
    ],
)
def test_adapt_request_wrong_names_the_pair(body: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        AdaptRequest.from_json(body)
    assert str(caught.value) == message


def test_rerank_request_round_trip() -> None:
    body = {"pairs": [PAIR], "prompt": CHAT, "candidates": ["x", "y"], "top_k": 1}
    request = RerankRequest.from_json(body)
    assert request.prompt == (Message("user", "Why?"),) and request.candidates == ("x", "y")
    assert request.to_json() == body and RerankRequest.from_json(request.to_json()) == request
    body |= {"quality": [0.5, -1], "quality_weight": 2, "caution": 1.5, "certainty": 0.9}
    assert RerankRequest.from_json(body).to_json() == body
    nulls = dict.fromkeys(key for key in RERANK_KEYS if key not in ("prompt", "candidates"))
    least = RerankRequest.from_json({"prompt": "", "candidates": [], **nulls})
    assert least == RerankRequest("", ())
    assert least.to_json() == {"prompt": "", "candidates": [], "pairs": []}


@pytest.mark.parametrize(
    ("candidates", "texts"),
    [
        ("x", ("x",)),
        ({"text": "x"}, ("x",)),
        ([{"text": "x", "id": 3}, {"content": "y"}], ("x", "y")),
        ([{"content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}], ("x\ny",)),
    ],
)
def test_rerank_request_candidates_are_texts_in_every_form(candidates: Any, texts: tuple) -> None:
    assert RerankRequest.from_json({"prompt": "p", "candidates": candidates}).candidates == texts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"candidate": []},
            "request: unknown key 'candidate'. Did you mean 'candidates'? Known: pairs, prompt, cand",
        ),
        ({"candidates": [3]}, "request: candidates[0] must be a string or have a 'text', not 3."),
        ({"candidates": 3}, "request: candidates must be a list of strings, not 3."),
        (
            {"candidates": [{"content": [{"type": "image"}]}]},
            "request: candidates[0].content[0] is of type 'image'",
        ),
        ({"prompt": 3}, "request: prompt must be a string or a non-empty list"),
        ({"prompt": []}, "request: prompt must be a string or a non-empty list"),
        ({"prompt": [{"role": "user"}]}, "request: prompt[0] must have the keys 'role' and 'content'"),
        ({"top_k": 0}, "request: top_k must be a positive whole number, not 0."),
        ({"top_k": True}, "request: top_k must be a positive whole number, not True."),
        ({"pairs": [{"prompt": "x"}]}, "request, pair 1: 'chosen' is missing."),
        ({"quality": 1}, "request: quality must be a list of numbers, not int."),
        ({"quality": []}, "request: quality has 0 numbers for 1 candidate. Give one number for each"),
        ({"quality": ["1"]}, "request: quality[0] must be a number between -1e+06 and 1e+06, not '1'."),
        ({"quality_weight": -1}, "request: quality_weight must be a number between 0 and 1e+06, not -1."),
        ({"caution": 101}, "request: caution must be a number between 0 and 100, not 101."),
        ({"certainty": "high"}, "request: certainty must be a number between 0 and 1, not 'high'."),
    ],
)
def test_rerank_request_wrong_names_the_path(change: dict, message: str) -> None:
    with pytest.raises(DataError) as caught:
        RerankRequest.from_json({"prompt": "p", "candidates": ["x"], **change})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", ["prompt", "candidates"])
def test_rerank_request_without_a_part_says_which(key: str) -> None:
    body = {"prompt": "p", "candidates": ["x"]}
    del body[key]
    with pytest.raises(DataError, match=f"'{key}' is missing"):
        RerankRequest.from_json(body)


def test_responses_are_plain_json() -> None:
    ranking = (RankedCandidate(1, 1, 0.12345678, math.nan, "y"), RankedCandidate(2, 0, -1.0, 0.5, "x"))
    answer = RerankResponse((Message("user", "Why?"),), 2, ranking).to_json()
    assert json.loads(json.dumps(answer, allow_nan=False)) == {
        "prompt": CHAT,
        "shots": 2,
        "ranking": [
            {"rank": 1, "index": 1, "score": 0.123457, "uncertainty": None, "text": "y"},
            {"rank": 2, "index": 0, "score": -1.0, "uncertainty": 0.5, "text": "x"},
        ],
    }


def test_encode_request_gives_two_items_for_a_pair() -> None:
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    assert EncodeRequest.from_json(["x", pair]).items == (("", "x"), ("p", "a"), ("p", "b"))
    assert EncodeRequest.from_json("x").items == (("", "x"),)
