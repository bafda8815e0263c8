"""A server as a writer: against a small server on this machine."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from fspo_jax.errors import DataError, FspoError
from fspo_jax.generation import best_of_n, openai_endpoint
from fspo_jax.reward import UserReward
from fspo_jax.reward.written import Blockwise
from fspo_jax.types import Message

STORY = "aa bb aaa bbb a b aaaa"
KEY = "sk-secret"


class LikesA(UserReward):
    """Likes the letter a."""

    def __init__(self) -> None:
        pass

    def score(self, prompt: Any, candidates: Any) -> np.ndarray:
        return np.array([text.count("a") for text in candidates], np.float32)

    def score_with_uncertainty(self, prompt: Any, candidates: Any) -> tuple[np.ndarray, np.ndarray]:
        scores = self.score(prompt, candidates)
        return scores, 0 * scores


ANA = LikesA()
USUAL = {"choices": [{"message": {"content": "hm"}, "finish_reason": "stop"}]}
ODD: dict[str, tuple[int, Any, str]] = {
    "unknown": (404, {"error": "no such model"}, r"status 404: .*no such model.*Check base_url"),
    "no key": (401, {"error": f"bad {KEY}"}, r"status 401: .*bad \(the key\).*Check api_key"),
    "busy": (429, {"error": "slow down"}, r"status 429: .*slow down.*wait, then try again.*wait '7' seconds"),
    "broken": (500, "<html>", "status 500: .*The server failed"),
    "elsewhere": (302, "", r"Redirects are not followed.*example\.org"),
    "no json": (200, "<html>hi</html>", "did not answer as expected .*JSONDecodeError"),
    "no choices": (200, {"choices": []}, "did not answer as expected .*IndexError"),
    "a list": (200, [1], "did not answer as expected .*TypeError"),
    "calls tools": (200, {"choices": [{"message": {"content": None}}]}, "the content is None, not a text"),
    "cut": (200, USUAL, "the answer is cut"),
    "slow": (200, USUAL, r"did not answer within 0\.3 seconds.*Raise timeout, or lower max_tokens"),
}
"""Status and body of each kind of failure, and the message about it."""


class Server(BaseHTTPRequestHandler):
    """`continues` goes on with the assistant's turn, `restarts` begins a new one, `strict` refuses unknown fields."""

    asked: list = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append((self.path, self.headers.get("Authorization"), body))
        status, reply, _ = ODD.get(body["model"]) or self.good(body)
        if body["model"] == "slow":
            time.sleep(1)
        sent = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        self.send_response(status)
        self.send_header("Content-Length", "9999" if body["model"] == "cut" else str(len(sent)))
        self.send_header("Retry-After", "7")
        if status == 302:
            self.send_header("Location", "http://example.org/v1/chat/completions")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # nobody waits for it any more
            self.wfile.write(sent)

    def good(self, body: dict) -> tuple[int, Any, str]:
        last, known = body["messages"][-1], STORY
        if body["model"] == "strict" and "continue_final_message" in body:
            return 400, {"error": "unknown field"}, ""
        begun = ""
        if body["model"] in ("continues", "silent") and last["role"] == "assistant":
            begun = last["content"]
            if "alpha" in begun:
                known = "alpha bravo charlie delta echo"
        rest = known[len(begun) :]
        seed = body.get("seed", body["max_tokens"] - 1)
        text = rest[: 1 + seed % body["max_tokens"]]  # longer or shorter, as drawn
        reason = "stop" if text == rest else "length"
        choice = {"message": {"content": text}, "finish_reason": reason}
        if body["model"] == "silent":
            del choice["finish_reason"]
        return 200, {"choices": [choice]}, ""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=lambda: http.serve_forever(0.01))
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}/v1/"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def server(address: str) -> str:
    Server.asked = []
    return address


def test_generator_asks_once_a_response(server: str) -> None:
    generator = openai_endpoint(server, "restarts", api_key=KEY, temperature=0.5, max_tokens=7)
    ranking = best_of_n(ANA, (Message("user", "hi"),), 2, generator)
    assert [c.text for c in ranking] == [STORY[:7]] * 2
    assert len(Server.asked) == 2
    path, authorization, body = Server.asked[0]
    assert (path, authorization) == ("/v1/chat/completions", f"Bearer {KEY}")
    assert body == {
        "model": "restarts",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.5,
        "max_tokens": 7,
    }


@pytest.mark.parametrize("n", [0, -1, 1.5, True, None])
def test_generator_wants_a_number_of_responses(server: str, n: Any) -> None:
    with pytest.raises(DataError, match="n must be a positive integer"):
        openai_endpoint(server, "restarts")("hi", n)
    assert not Server.asked


def test_blocks_continue_the_turn_of_the_assistant_where_the_server_does(server: str) -> None:
    endpoint = openai_endpoint(server, "continues")
    (found,) = ANA.generate("hi", writer=endpoint, guidance=Blockwise(3, 8), max_tokens=64)
    assert (found, found.way, found.ended) == (STORY, "blockwise", True)
    probe, *blocks = [body for _, _, body in Server.asked]
    assert probe["temperature"] == 0 and probe["messages"][-1]["content"] == "alpha bravo charlie del"
    assert {body["messages"][0]["content"] for body in blocks} == {"hi"} and len(blocks) % 3 == 0
    later = [body for body in blocks if len(body["messages"]) == 2]
    assert later and all(
        body["continue_final_message"] and not body["add_generation_prompt"] for body in later
    )
    assert all(body["messages"][1]["content"] == body["messages"][1]["content"].rstrip() for body in later)
    assert len({body["seed"] for body in blocks}) == len(blocks)
    Server.asked = []
    assert ANA.generate("hi", writer=endpoint, guidance=Blockwise(3, 8), max_tokens=64)[0] == found
    assert len(Server.asked) == len(blocks)  # it is known that it continues
    (cut,) = ANA.generate("hi", writer=endpoint, guidance=Blockwise(2, 4), max_tokens=6)
    assert not cut.ended and STORY.startswith(cut) and len(cut) <= 6
    plain = ANA.generate("hi", writer=endpoint, n=2, max_tokens=64, seed=70)
    assert [(one, one.way, one.ended) for one in plain] == [
        (STORY[:7], "sampled", False),
        (STORY[:8], "sampled", False),
    ]


@pytest.mark.parametrize("model", ["restarts", "strict"])
def test_a_server_that_begins_new_turns_gives_the_best_of_n_and_says_so(model: str, server: str) -> None:
    endpoint = openai_endpoint(server, model)
    (found,) = ANA.generate("hi", writer=endpoint, guidance=Blockwise(4, 3), max_tokens=64, seed=3)
    assert (found, found.way, found.ended) == (STORY[:7], "best of n", False)
    assert [body["max_tokens"] for _, _, body in Server.asked] == [8, 64, 64, 64, 64]
    assert all(len(body["messages"]) == 1 for _, _, body in Server.asked[1:])
    given = openai_endpoint(server, model, continue_turn=False)
    assert ANA.generate("hi", writer=given, guidance=Blockwise(4), max_tokens=64, seed=3) == [found]


@pytest.mark.parametrize("model", list(ODD))
def test_each_failure_says_what_to_do_and_never_the_key(model: str, server: str) -> None:
    timeout = 0.3 if model == "slow" else 20
    endpoint = openai_endpoint(server, model, api_key=KEY, timeout=timeout, continue_turn=True)
    for call in (
        lambda: endpoint("p", 1),
        lambda: ANA.generate("p", writer=endpoint, guidance=Blockwise(2, 4)),
    ):
        with pytest.raises(FspoError, match=ODD[model][2]) as caught:
            call()
        assert server.rstrip("/") in str(caught.value) and KEY not in str(caught.value)
    assert KEY not in repr(endpoint)


def test_servers_that_are_not_there_or_do_not_say_why_they_stop(server: str) -> None:
    with pytest.raises(
        FspoError, match=r"127\.0\.0\.1:9/v1/chat/completions did not answer .*that the server runs"
    ):
        openai_endpoint("http://127.0.0.1:9/v1", "known", timeout=1)("p", 1)
    silent = openai_endpoint(server, "silent")
    with pytest.raises(FspoError, match=r"does not say why a response stops"):
        ANA.generate("p", writer=silent, guidance=Blockwise(2, 4))
    assert silent("p", 1) == [STORY]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"base_url": "no address"}, "must begin with http"),
        ({"base_url": "http://me:pass@host/v1"}, "has a name or password in it"),
        ({"base_url": "http://[x/v1"}, "is not an address"),
        ({"api_key": "two\nlines"}, "characters that no key has"),
        ({"api_key": None}, "api_key must be a string"),
        ({"model": 3}, "model must be a string"),
        ({"timeout": 0}, "timeout must be a number"),
        ({"max_tokens": 0}, "max_tokens must be a positive integer"),
        ({"continue_turn": "yes"}, "continue_turn must be True, False or None"),
    ],
)
def test_wrong_settings_are_data_errors(given: dict, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        openai_endpoint(**{"base_url": "http://host/v1", "model": "m"} | given)
    assert "pass@" not in str(caught.value) and "two" not in str(caught.value)
