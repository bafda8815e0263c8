"""Connections that a slow client cannot hold: the head of a request must arrive in time, and may not grow for ever.

A body has its own time, in `bodies`. Without this, clients that send a byte now and then would use up the connections.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from fspo_jax.serving.limits import Limits
from fspo_jax.serving.problems import problem


def timed_protocol(limits: Limits, base: Any = AutoHTTPProtocol) -> type:
    """The protocol of a server, for `uvicorn.Config(http=...)`.

    Args:
        limits: `head_seconds` and `head` count.
        base: uvicorn's protocol.
    """

    class TimedProtocol(base):
        """Gives every head of a request, and what is left of a body after its answer, a limited time."""

        _timer: asyncio.TimerHandle | None = None
        _size = 0  # of the head that is arriving

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._begin()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            if self._timer is None and (before is None or before.response_complete):
                self._begin()
            super().data_received(data)
            if self.cycle is not before:
                self._end()
            elif self._timer is not None:
                self._size += len(data)
                if self._size > limits.head:
                    self._refuse(431, f"the head of a request may have {limits.head:,} bytes.")

        def connection_lost(self, exc: Exception | None) -> None:
            self._end()
            super().connection_lost(exc)

        def _begin(self) -> None:
            self._size = 0
            self._timer = self.loop.call_later(limits.head_seconds, self._too_slow)

        def _end(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _too_slow(self) -> None:
            said = f"the head of a request must arrive within {limits.head_seconds:g} seconds."
            self._refuse(408, said)

        def _refuse(self, status: int, message: str) -> None:
            self._end()
            # A client that had an answer before would take this for an answer to a request that is still to come.
            if self.cycle is None and self._size and not self.transport.is_closing():
                answer = problem(status, message, {"Connection": "close"})
                head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
                head += [name + b": " + value for name, value in answer.raw_headers]
                self.transport.write(b"\r\n".join([*head, b"", bytes(answer.body)]))
            self.transport.close()

    return TimedProtocol
