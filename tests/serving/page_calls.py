"""Calls of the page, as a browser makes them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from fspo_jax.serving.pool import Pool
from fspo_jax.serving.stored import Label

Serve = Callable[..., TestClient]

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'{{ 7 * 7 }}"
POOL = Pool([(f"question {i} {EVIL}", [f"answer {i} {EVIL}", f"other {i}", f"third {i}"]) for i in range(6)])
ANA = "/teach/ana"
SAME = {"Sec-Fetch-Site": "same-origin"}


def opened(serve: Serve, token: str = "token-of-ana-0000", **changes: Any) -> TestClient:
    """A browser that has signed in with a token."""
    client = serve("", pool=POOL, **changes)
    if token:
        client.cookies.set("fspo_token", token, path="/teach")
    client.headers.update(SAME)
    return client


def fields_of(text: str) -> dict[str, str]:
    return dict(re.findall(r'name="(question|asked|key|kind|id)" value="([^"]*)"', text))


def answer(client: TestClient, given: str, **changes: str) -> str:
    """Answers the question that is shown; returns the next page."""
    form = fields_of(client.get(ANA).text) | {"answer": given, "seconds": "1.5"} | changes
    return client.post(f"{ANA}/answer", data=form).raise_for_status().text


def labels_of(client: TestClient) -> list[Label]:
    return client.app.state.service.users.labels("ana")[1]  # type: ignore[attr-defined]


def said(text: str) -> str:
    found = re.search(r'<p id="said"[^>]*>(.*?)</p>', text, re.DOTALL)
    assert found
    return html.unescape(found[1]).strip()
