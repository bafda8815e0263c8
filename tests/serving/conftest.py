"""A service of a tiny reward, with tokens, for the tests of its routes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgres_server import postgres_server
from service_settings import SETTINGS
from sqlalchemy import create_engine
from starlette.testclient import TestClient
from tiny_reward import make_reward

from fspo_jax.reward import PersonalizedReward
from fspo_jax.serving.app import make_app
from fspo_jax.serving.database import metadata
from fspo_jax.serving.users import Users


@pytest.fixture(scope="session")
def tiny() -> PersonalizedReward:
    return make_reward()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def postgres(postgres_url: str) -> str:
    """The URL of a database without tables."""
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        metadata.drop_all(connection)
    engine.dispose()
    return postgres_url


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def users(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Users]:
    """An empty store of each kind."""
    if request.param == "SQLite":
        where = str(tmp_path / "users.db")
    else:
        where = request.getfixturevalue("postgres")
    store = Users(where)
    yield store
    store.close()


@pytest.fixture
def serve(tiny: PersonalizedReward, tmp_path: Path) -> Iterator[Callable[..., TestClient]]:
    """`serve(tokens=..., limits=...)` is a client of a service whose settings differ in these; `token` signs it in.

    `users` is where the users are: by default a file of the test.
    """
    opened: list[TestClient] = []

    def make(token: str = "token-of-shop-000", users: str = "", **changes: object) -> TestClient:
        store = Users(users or str(tmp_path / "users.db"))
        app = make_app(tiny, store, replace(SETTINGS, **changes))  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = TestClient(app, "http://127.0.0.1", raise_server_exceptions=False, headers=headers)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__()
