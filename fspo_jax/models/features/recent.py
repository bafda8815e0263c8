"""The rows of the latest texts or items, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

import numpy as np

MOST_ROWS = 32_768

Text = TypeVar("Text", bound=Hashable)
"""A text, or an item: a prompt with a response."""


class RecentRows(Generic[Text]):
    """A function from texts to rows of numbers that remembers its latest rows. Threads may share it.

    Args:
        width: Number of values of a row.
        compute: From N distinct texts to their rows, `float32 [N, width]`.

    Example:
        >>> lengths = RecentRows(1, lambda texts: np.array([[len(text)] for text in texts], np.float32))
        >>> lengths.rows(["a", "bb", "a"]).ravel().tolist()
        [1.0, 2.0, 1.0]
    """

    def __init__(self, width: int, compute: Callable[[list[Text]], np.ndarray]):
        self._compute = compute
        self._lock = threading.Lock()
        self._slots: dict[Text, int] = {}
        self._rows = np.empty((256, width), np.float32)

    def rows(self, texts: Sequence[Text]) -> np.ndarray:
        """Returns rows `float32 [N, width]` of N texts, which may repeat. New texts are computed in one call."""
        with self._lock:
            slots = list(map(self._slots.get, texts))
            if None not in slots:
                return self._rows.take(np.array(slots, np.intp), axis=0)
            found = self._rows[[slot or 0 for slot in slots]]
        new = dict.fromkeys(text for text, slot in zip(texts, slots, strict=True) if slot is None)
        computed = self._compute(list(new))
        places = {text: i for i, text in enumerate(new)}
        for i, (text, slot) in enumerate(zip(texts, slots, strict=True)):
            if slot is None:
                found[i] = computed[places[text]]
        if len(new) <= MOST_ROWS // 2:
            with self._lock:
                self._keep([text for text in new if text not in self._slots], computed, places)
        return found

    def _keep(self, texts: list[Text], computed: np.ndarray, places: dict[Text, int]) -> None:
        """Remembers rows. When there is no room, all older rows are forgotten first."""
        if len(self._slots) + len(texts) > MOST_ROWS:
            self._slots.clear()
        needed = len(self._slots) + len(texts)
        if needed > len(self._rows):
            grown = np.empty(
                (min(max(needed, 2 * len(self._rows)), MOST_ROWS), self._rows.shape[1]), np.float32
            )
            grown[: len(self._rows)] = self._rows
            self._rows = grown
        for text in texts:
            slot = self._slots[text] = len(self._slots)
            self._rows[slot] = computed[places[text]]
