"""Whose taste a request is for: a token of one user reaches no other user, in any combination of ways to name one."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from service_settings import TOKENS
from starlette.testclient import TestClient
from tiny_reward import CANDIDATES, PAIRS

from fspo_jax.errors import DataError
from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.problems import Refusal
from fspo_jax.serving.requests import pair_json
from fspo_jax.serving.tokens import Tokens

Serve = Callable[..., TestClient]

LABELS = {"ana": PAIRS[:2], "bo": PAIRS[2:4]}
WAYS = ("path", "model", "user", "header")
HEADER = "X-User"
USERS = (None, "ana", "bo", "eve")


def headers_of(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def client(serve: Serve) -> TestClient:
    client = serve(trusted_header=HEADER)
    for user, pairs in LABELS.items():
        client.post(f"/v1/users/{user}/preferences", json=[pair_json(pair) for pair in pairs])
    client.headers.pop("authorization")
    return client


def ask(client: TestClient, token: str, named: dict[str, str | None]) -> Any:
    """Asks for scores of a user who is named in some of the ways."""
    body = {"queries": "Which?", "documents": CANDIDATES[:3], "use_activation": False}
    model = f"tiny:{named['model']}" if named.get("model") else "tiny"
    path = f"/users/{named['path']}/score" if named.get("path") else "/score"
    headers = headers_of(token) | ({HEADER: named["header"]} if named.get("header") else {})
    return client.post(path, json=body | {"model": model, "user": named.get("user")}, headers=headers)


def test_every_combination_of_token_and_names_reaches_only_whom_it_may(
    client: TestClient, tiny: PersonalizedReward
) -> None:
    tastes = {
        user: tiny.adapt(LABELS.get(user or "", [])).score("Which?", CANDIDATES[:3]).tolist()
        for user in USERS
    }
    assert len({tuple(scores) for scores in tastes.values()}) == 3  # ana, bo, and people in general
    seen = set()
    for token, bound in TOKENS.items():
        for users in itertools.product(USERS, repeat=len(WAYS)):
            named = {user for user in users if user}
            answer = ask(client, token, dict(zip(WAYS, users, strict=True)))
            own = bound.get("user")
            if "rank" not in bound.get("scopes", ["rank"]) or (own and named - {own}):
                expected: Any = 403
            elif len(named) > 1:
                expected = 400
            elif "eve" in named:
                expected = 404
            else:
                expected = tastes[own or next(iter(named), None)]
            if answer.status_code == 200:
                assert [line["score"] for line in answer.json()["data"]] == pytest.approx(expected, abs=1e-6)
            else:
                assert answer.status_code == expected, (token, users, answer.text)
                assert "score" not in answer.text
            seen.add(answer.status_code)
    assert seen == {200, 400, 403, 404}


ROUTES = [
    ("GET", "", None, "read"),
    ("GET", "/export", None, "read"),
    ("GET", "/preferences", None, "read"),
    ("POST", "/preferences", pair_json(PAIRS[4]), "write"),
    ("PUT", "/preferences/{label}", pair_json(PAIRS[4]), "write"),
    ("DELETE", "/preferences/{label}", None, "write"),
    ("DELETE", "", None, "write"),
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route[0]}{route[1]}")
@pytest.mark.parametrize("user", ["ana", "bo", "eve"])
def test_labels_of_a_user_are_for_that_user_and_applications_with_the_scope(
    client: TestClient, route: tuple[str, str, Any, str], user: str
) -> None:
    method, path, body, scope = route
    path = f"/v1/users/{user}{path.format(label={'ana': 1, 'bo': 3, 'eve': 1}[user])}"
    app = headers_of("token-of-shop-000")

    def everything() -> list[Any]:
        return [client.get(f"/v1/users/{user}/preferences", headers=app).json() for user in LABELS]

    before = everything()
    allowed = []
    for token, bound in TOKENS.items():
        may = bound.get("user", user) == user and scope in bound.get("scopes", [scope])
        if may:
            allowed.append(token)
            continue
        answer = client.request(method, path, json=body, headers=headers_of(token))
        assert answer.status_code == 403, (token, answer.text)
        assert "good" not in answer.text and "question" not in answer.text
    assert everything() == before
    for token in allowed[:1]:
        answer = client.request(method, path, json=body, headers=headers_of(token))
        assert answer.status_code in ((404, 201) if user == "eve" else (200, 201, 204))


def test_label_of_one_user_is_not_reached_through_another(client: TestClient) -> None:
    ana = headers_of("token-of-ana-0000")
    for method, body in (("PUT", pair_json(PAIRS[4])), ("DELETE", None)):
        assert (
            client.request(method, "/v1/users/ana/preferences/3", json=body, headers=ana).status_code == 404
        )
    bo = client.get("/v1/users/bo/preferences", headers=headers_of("token-of-bo-00000")).json()
    assert [row["id"] for row in bo["preferences"]] == [3, 4]


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic token-of-ana-0000", "Bearer token-of-ana-000", "Bearer x\xff"],
)
@pytest.mark.parametrize("path", ["/rerank", "/v1/users/ana", "/v1/models", "/users/ana/score"])
def test_unknown_token_is_401_everywhere(client: TestClient, header: str | None, path: str) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    method = "GET" if path.startswith("/v1") else "POST"
    answer = client.request(method, path, headers=headers)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_header_counts_only_when_the_operator_trusts_it(serve: Serve, client: TestClient) -> None:
    named = {"header": "eve"}
    assert ask(client, "token-of-shop-000", named).status_code == 404
    assert ask(serve(), "token-of-shop-000", named).status_code == 200


def test_health_needs_no_token_and_models_never_list_users(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    models = client.get("/v1/models", headers=headers_of("token-of-ana-0000"))
    assert [model["id"] for model in models.json()["data"]] == ["tiny"] and "bo" not in models.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "", "[", "[::1"])
def test_without_tokens_only_loopback_names_are_answered(serve: Serve, host: str) -> None:
    client = serve("", tokens=Tokens())
    assert client.get("/v1/models").status_code == 200
    assert client.get("/v1/models", headers={"Host": "localhost:8000"}).status_code == 200
    assert client.get("/v1/models", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ({}, "has no token"),
        ([], "has no token"),
        ("{", "cannot be read as JSON"),
        ({"short": {"user": "ana"}}, "at least 16"),
        ({"has a space in the token": {"user": "ana"}}, "without spaces"),
        ({"sha256:abc": {"user": "ana"}}, "64 hexadecimal digits, not 3 characters"),
        ({"sha256:" + "f" * 63: {"user": "ana"}}, "64 hexadecimal digits, not 63 characters"),
        ({"sha256:" + "g" * 64: {"user": "ana"}}, "64 hexadecimal digits"),
        ({"t" * 16: "ana"}, "token 1 must be for"),
        ({"t" * 16: {"user": "ana", "application": "shop"}}, "token 1 must be for"),
        ({"t" * 16: {"user": "ana", "scope": ["rank"]}}, "token 1 must be for"),
        ({"t" * 16: {"user": "a/b"}}, "token 1: user must be"),
        ({"t" * 16: {"user": None}}, "token 1: user must be"),
        ({"t" * 16: {"user": "ana", "scopes": ["admin"]}}, "must be some of rank, read, write"),
        ({"t" * 16: {"user": "ana", "scopes": []}}, "must be some of rank, read, write"),
    ],
)
def test_token_file_with_a_fault_is_refused(tmp_path: Path, tokens: Any, message: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(tokens if isinstance(tokens, str) else json.dumps(tokens))
    with pytest.raises(DataError, match=message) as error:
        Tokens.read(path)
    assert "t" * 16 not in str(error.value)


def test_token_can_be_kept_as_its_digest() -> None:
    token = "a-token-of-somebody"
    digest = hashlib.sha256(token.encode()).hexdigest()
    known = {f"sha256:{digest}": {"user": "ana"}}
    for tokens in (known, {f"sha256:{digest.upper()}": {"user": "ana"}}):
        assert Tokens(tokens).bearer(f"Bearer {token}").user == "ana"
    with pytest.raises(Refusal, match="not known"):
        Tokens(known).bearer(f"Bearer {next(iter(known))}")
