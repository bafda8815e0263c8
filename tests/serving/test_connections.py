"""Clients that send slowly or without end lose their connection; others are not disturbed."""

from __future__ import annotations

import importlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fspo_jax.serving.bodies import read_json
from fspo_jax.serving.connections import timed_protocol
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.problems import Refusal, answer_error

LIMITS = Limits(head=8000, head_seconds=0.4, body_seconds=0.4)
GET = b"GET /early HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
ENDLESS = GET[:-2] + b"X-More: 1\r\n" * 99
LONG = 20.0


async def early(request: Request) -> Response:
    """Answers before the body has arrived."""
    return PlainTextResponse("early")


async def late(request: Request) -> Response:
    """Answers when the body has arrived."""
    await read_json(request, LIMITS)
    return PlainTextResponse("late")


@pytest.fixture(scope="module", params=["httptools", "h11"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A service on each parser of uvicorn that is installed; h11 always is."""
    pytest.importorskip(request.param)
    name = {"httptools": "HttpToolsProtocol", "h11": "H11Protocol"}[request.param]
    base = getattr(importlib.import_module(f"uvicorn.protocols.http.{request.param}_impl"), name)
    routes = [Route(f"/{one.__name__}", one, methods=["GET", "POST"]) for one in (early, late)]
    app = Starlette(routes=routes, exception_handlers={Refusal: answer_error})
    protocol = timed_protocol(LIMITS, base)
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def trickle(port: int, at_once: bytes, forever: bytes, pause: float = 0.05) -> tuple[bytes, float]:
    """Sends something at once, then a byte now and then. Returns what came, and after how long the end came."""
    came, started = b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(at_once)
        client.settimeout(pause)
        sent = 0
        while time.monotonic() - started < LONG:
            try:
                if not (part := client.recv(10_000)):
                    break
                came += part
                continue
            except TimeoutError:
                pass
            except OSError:
                break
            with suppress(OSError):
                client.sendall(forever[sent % len(forever) :][:1] if forever else b"")
            sent += 1
    return came, time.monotonic() - started


@pytest.mark.parametrize(
    ("at_once", "forever", "status"),
    [
        (b"", ENDLESS, b"408"),  # a slow head
        (b"", b"", b""),  # nothing at all
        (POST % b"late", b" ", b"408"),  # a slow body
        (POST % b"early", b" ", b"200"),  # a slow body that nobody reads
        (GET, ENDLESS, b"200"),  # a slow head on a connection that had an answer
    ],
    ids=["head", "nothing", "body", "unread body", "second head"],
)
def test_slow_client_loses_its_connection(port: int, at_once: bytes, forever: bytes, status: bytes) -> None:
    came, seconds = trickle(port, at_once, forever)
    assert came[9:12] == status and came.count(b"HTTP/1.1") == bool(status)
    assert 0.3 < seconds < LONG


def test_head_without_end_is_cut_off_by_its_size(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client, suppress(ConnectionError):
        client.sendall(GET[:-2])
        for _ in range(30):
            client.sendall(b"X-More: " + b"1" * 1000 + b"\r\n")
            time.sleep(0.005)
        client.settimeout(LONG)
        while client.recv(10_000):
            pass


def test_patient_clients_are_served(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(LONG)
        for _ in range(3):
            client.sendall(GET[:10])
            time.sleep(0.1)
            client.sendall(GET[10:])
            assert b"200" in client.recv(10_000)
            time.sleep(0.5)  # between requests a client may rest for longer than a head may take
        client.sendall(GET * 3)
        came = b""
        while came.count(b"early") < 3:
            came += client.recv(10_000)
        assert came.count(b"HTTP/1.1 200") == 3
