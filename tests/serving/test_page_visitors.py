"""Who may see the page, and that nothing in it runs: tokens, other sites, texts with scripts."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest
from page_calls import ANA, EVIL, POOL, SAME, Serve, answer, fields_of, labels_of, opened, said
from service_settings import SETTINGS, TOKENS
from tiny_reward import PAIRS

from fspo_jax.serving.page.rendering import FILES, HERE
from fspo_jax.serving.tokens import Tokens
from fspo_jax.types import Preference

PAGES = ["", "/beliefs", "/labels", "/rank"]


def test_texts_are_shown_and_never_run(serve: Serve) -> None:
    client = opened(serve)
    client.app.state.service.users.append("ana", [Preference(EVIL, EVIL, "b")])  # type: ignore[attr-defined]
    answer(client, "first")
    pages = [client.get(ANA + path) for path in PAGES]
    pages.append(client.post(f"{ANA}/rank", data={"prompt": EVIL, "candidate": [EVIL, "b"]}))
    pages.append(client.get(f"/teach/{EVIL.replace('/', '')}"))
    pages.append(client.get("/teach/", params={"user": EVIL}))
    for page in pages:
        body = page.text
        assert "<script>" not in body and "<img" not in body and "49" not in said(body)
        assert not re.search(r"\son\w+=|style=|javascript:", re.sub(r"&[#\w]+;[^<>]*", "", body))
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy and "script-src 'self'" in policy and "default-src 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
    assert html.escape("<script>alert(1)</script>") in pages[0].text.replace("&#34;", "&quot;")


def test_page_asks_no_other_server_for_anything() -> None:
    for path in HERE.glob("templates/*.html"):
        assert "//" not in path.read_text().replace("{#", ""), path
    assert b"http" not in FILES["page.css"] + FILES["page.js"]


def test_static_files_need_no_token_and_nothing_else_is_served(serve: Serve) -> None:
    client = serve("")
    for name in FILES:
        found = client.get(f"/teach/in/static/{name}")
        assert found.content == FILES[name] and "immutable" in found.headers["cache-control"]
    for name in ("..%2f..%2fapp.py", "htmx.LICENSE.txt", "x"):
        assert client.get(f"/teach/in/static/{name}").status_code == 404


POSTS = ["/answer", "/undo", "/labels/swap", "/labels/forget", "/forget", "/rank"]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("tokens", [Tokens(TOKENS), Tokens()], ids=["tokens", "open"])
def test_form_of_another_site_changes_nothing(serve: Serve, path: str, tokens: Tokens) -> None:
    client = opened(serve, tokens=tokens)
    client.app.state.service.users.append("ana", PAIRS[:1])  # type: ignore[attr-defined]
    del client.headers["sec-fetch-site"]
    form = fields_of(client.get(ANA).text) | {"answer": "first", "id": "1", "candidate": ["a", "b"]}
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        refused = client.post(ANA + path, data=form, headers=headers)
        assert refused.status_code == 403 and "another web site" in refused.text
    assert [label.pair for label in labels_of(client)] == PAIRS[:1]
    allowed = client.post(ANA + path, data=form, headers={"Origin": "http://127.0.0.1"})
    assert allowed.status_code == 200


def test_every_token_reaches_only_whom_it_may(serve: Serve) -> None:
    for token, bound in TOKENS.items():
        client = opened(serve, token)
        client.app.state.service.users.append("bo", [Preference("secret", "of bo", "x")])  # type: ignore[attr-defined]
        scopes = set(bound.get("scopes", ["rank", "read", "write"]))
        for path in [*PAGES, "/export"]:
            may = bound.get("user", "bo") == "bo" and scopes >= (
                {"read"} if path in ("/labels", "/export") else {"read", "rank"}
            )
            page = client.get(f"/teach/bo{path}")
            assert page.status_code == (200 if may else 403), (token, path)
            assert may or "of bo" not in page.text
        if (bound.get("user") != "bo" and "write" not in scopes) or bound.get("user") == "ana":
            for path in POSTS:
                assert client.post(f"/teach/bo{path}", data={"id": "1"}).status_code == 403
    assert len(client.app.state.service.users.labels("bo")[1]) == len(TOKENS)  # type: ignore[attr-defined]


def test_signing_in_leads_to_the_questions_and_out_again(serve: Serve) -> None:
    client = serve("", pool=POOL)
    client.headers.update(SAME)
    assert "Your token" in client.get(ANA).text and client.get(ANA).url.path == "/teach/"
    for wrong in ("", "token-of-ana-000", "é" * 20, "a; Path=/", 'x"' * 10):
        refused = client.post("/teach/in/session", data={"token": wrong})
        assert refused.status_code == 401 and "not known" in said(refused.text), wrong
        assert "set-cookie" not in refused.headers
    entered = client.post("/teach/in/session", data={"token": " token-of-ana-0000 "}, follow_redirects=False)
    cookie = entered.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/teach"))
    assert "secure" not in cookie and "max-age" not in cookie
    assert client.get("/teach/").url.path == ANA
    assert client.post("/rerank", json={"query": "q", "documents": ["a"]}).status_code == 401
    client.post("/teach/in/session/end")
    assert client.get(ANA).url.path == "/teach/"


def test_cookie_goes_over_tls_only_except_on_this_machine(serve: Serve) -> None:
    entered = serve("").post(
        "/teach/in/session",
        data={"token": "token-of-ana-0000"},
        headers=SAME | {"Host": "taste.example"},
        follow_redirects=False,
    )
    assert "secure" in entered.headers["set-cookie"].lower()


def test_application_is_asked_whose_taste(serve: Serve) -> None:
    client = opened(serve, "token-of-shop-000")
    assert "Whose taste?" in client.get("/teach").text
    assert client.get("/teach", params={"user": " bo "}).url.path == "/teach/bo"
    wrong = client.get("/teach/", params={"user": "a b"})
    assert wrong.status_code == 400 and "letters, digits" in said(wrong.text)


@pytest.mark.parametrize("host", ["evil.example", ""])
def test_without_tokens_only_loopback_names_see_the_page(serve: Serve, host: str) -> None:
    client = opened(serve, "", tokens=Tokens())
    assert client.get(ANA).status_code == 200
    assert client.get(ANA, headers={"Host": host}).status_code == 421


def test_trusted_header_that_names_another_user_is_refused(serve: Serve) -> None:
    client = opened(serve, "token-of-shop-000", trusted_header="X-User")
    assert client.get(ANA, headers={"X-User": "ana"}).status_code == 200
    assert client.get(ANA, headers={"X-User": "bo"}).status_code == 400
    assert client.get("/teach/", headers={"X-User": "bo"}).url.path == "/teach/bo"


def test_errors_are_pages_and_forms_are_bounded(serve: Serve) -> None:
    client = opened(serve, limits=replace(SETTINGS.limits, body=200, rate=0.01))
    assert client.get("/teach/ana/nothing").text.count("<h1") == 1
    slowed = client.get(ANA)
    assert slowed.status_code == 200
    slowed = client.get(ANA)
    assert slowed.status_code == 429 and "retry-after" in slowed.headers and "<h1" in slowed.text
    client = opened(serve, limits=replace(SETTINGS.limits, body=200))
    assert client.post(f"{ANA}/rank", data={"prompt": "x" * 300}).status_code == 413
    assert client.post(f"{ANA}/rank", json={}).status_code == 415
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for content in (b"\xff", b"a=%ff"):
        assert client.post(f"{ANA}/rank", content=content, headers=kind).status_code == 400
