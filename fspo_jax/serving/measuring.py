"""Counts and times requests, for Prometheus."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fspo_jax.serving.limits import Gate

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds of the buckets of response times."""


class Measures:
    """The figures of one service. No figure names a user, and a request counts under its route, not its path."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fspo_requests", "Answered requests.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "fspo_request_seconds",
            "Time from a request to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )

    def add_gates(self, gates: dict[str, Gate]) -> None:
        """Also shows how many requests are inside each gate, computed or waiting."""
        inside = Gauge("fspo_requests_inside", "Requests inside.", ["gate"], registry=self._registry)
        for name, gate in gates.items():
            inside.labels(name).set_function(lambda gate=gate: gate.inside)

    def count(self, route: str, status: int, seconds: float) -> None:
        """Counts one answer."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All figures, in the text format of Prometheus."""
        return generate_latest(self._registry)


class Measuring:
    """Middleware that counts each answer."""

    def __init__(self, app: ASGIApp, measures: Measures):
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            self._measures.count(_route(scope), status, time.perf_counter() - started)


def _route(scope: Scope) -> str:
    """The name of the function that answered; paths are not counted apart, because anybody may invent them."""
    endpoint: Any = scope.get("endpoint")
    return getattr(endpoint, "__name__", "unknown")
