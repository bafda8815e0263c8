"""What a request may cost. Beyond it a client is told at once when to come back, instead of waiting."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio
import anyio.to_thread

from fspo_jax.serving.problems import Refusal

MOST_CALLERS = 10_000
"""Callers whose rate is remembered; the one that was quiet for longest is forgotten first."""

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """The limits of a service.

    Attributes:
        head: Largest head of a request, in bytes, if it does not arrive at once.
        head_seconds: How long a head may take to arrive, and a client may rest before its first.
        body: Largest body of a request, in bytes.
        body_seconds: How long a body may take to arrive.
        candidates: Largest number of candidates of a request.
        characters: Largest number of characters of a text.
        labels: Largest number of labelled pairs of a user.
        rate: Requests a second of one caller, averaged; 0 for any number. A caller is a token, or everybody without.
        queue: How many requests may wait for their turn.
        running: How many requests are computed at once.
    """

    head: int = 64 << 10
    head_seconds: float = 10.0
    body: int = 8 << 20
    body_seconds: float = 20.0
    candidates: int = 1000
    characters: int = 50_000
    labels: int = 10_000
    rate: float = 0.0
    queue: int = 256
    running: int = 2


class Rate:
    """Counts what each caller asks for: `rate` requests a second, and twice as many at once after a rest."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic):
        self._rate, self._most, self._clock = rate, max(2 * rate, 1.0), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Counts one request; raises `Refusal` if the caller has asked for too many."""
        if not self._rate:
            return
        with self._lock:
            now = self._clock()
            left, when = self._left.pop(caller, (self._most, now))
            left = min(self._most, left + self._rate * (now - when))
            self._left[caller] = (left - 1 if left >= 1 else left, now)
            if len(self._left) > MOST_CALLERS:
                self._left.popitem(last=False)
        if left < 1:
            raise Refusal(
                429,
                f"too many requests: {self._rate:g} a second are allowed. Slow down.",
                (1 - left) / self._rate,
            )


class Gate:
    """Runs blocking work in threads, a few at once, and lets a limited number wait. Needs a running event loop."""

    def __init__(self, running: int, queue: int):
        self._most = running + queue
        self._inside = 0
        self._limiter = anyio.CapacityLimiter(running)

    @property
    def inside(self) -> int:
        """How many requests are computed or wait."""
        return self._inside

    async def run(self, work: Callable[[], T]) -> T:
        """Returns what `work` returns. What was begun is finished, even if the client goes away.

        Raises:
            Refusal: The queue is full.
        """
        if self._inside >= self._most:
            raise Refusal(503, f"{self._inside} requests are waiting already. Try again.", 1.0)
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self._inside -= 1
