"""Makes batches ahead in a thread, so that the device does not wait for the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Batch = TypeVar("Batch")


class Prefetch(Generic[Batch]):
    """Calls `make(step)` for the steps from `first` to `last - 1`, a few steps ahead.

    The thread ends when the object is deleted.

    Args:
        make: Makes the batch of a step. `next` raises its errors.
        first: Number of the first step.
        last: Number after the last step.
        ahead: Number of batches that are ready or being made.
    """

    def __init__(self, make: Callable[[int], Batch], first: int, last: int, ahead: int = 4):
        self._make, self._next, self._last = make, first, last
        self._pool = ThreadPoolExecutor(1, "prefetch")
        self._waiting: deque[Future[Batch]] = deque()
        for _ in range(ahead):
            self._submit()

    def next(self) -> Batch:
        """Returns the batch of the next step.

        Raises:
            StopIteration: There is no further step.
        """
        if not self._waiting:
            raise StopIteration
        batch = self._waiting.popleft().result()
        self._submit()
        return batch

    def _submit(self) -> None:
        if self._next < self._last:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1
