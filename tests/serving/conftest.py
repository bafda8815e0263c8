"""A service of a tiny reward, with tokens, for the tests of its routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from service_settings import SETTINGS
from starlette.testclient import TestClient
from tiny_reward import make_reward

from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.app import make_app
from fspo_jax.serving.users import Users


@pytest.fixture(scope="session")
def tiny() -> PersonalizedReward:
    return make_reward()


@pytest.fixture
def serve(tiny: PersonalizedReward, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """`serve(tokens=..., limits=...)` is a client of a service whose settings differ in these; `token` signs it in."""
    opened: list[TestClient] = []

    def make(token: str = "token-of-shop-000", **changes: object) -> TestClient:
        app = make_app(tiny, Users(str(tmp_path / "users.db")), replace(SETTINGS, **changes))  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = TestClient(app, "http://127.0.0.1", raise_server_exceptions=False, headers=headers)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__()
