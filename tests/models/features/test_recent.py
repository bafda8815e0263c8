import threading

import numpy as np
import pytest

from fspo_jax.models.features import recent
from fspo_jax.models.features.recent import RecentRows


def compute(texts):
    return np.array([[len(text), sum(map(ord, text))] for text in texts], np.float32)


def test_rows_each_text_is_computed_once_and_repeats_are_allowed():
    computed = []
    rows = RecentRows(2, lambda texts: (computed.append(texts), compute(texts))[1]).rows
    for texts in (["a", "bb", "a"], ["bb"], ["c", "a", "c", "bb"], []):
        np.testing.assert_array_equal(rows(texts), compute(texts).reshape(-1, 2))
    assert computed == [["a", "bb"], ["c"]]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 16, 17, 40])
def test_rows_of_more_texts_than_are_remembered_are_right(monkeypatch, size):
    monkeypatch.setattr(recent, "MOST_ROWS", 16)
    remembered = RecentRows(2, compute)
    texts = [f"text {i}" for i in range(40)]
    for start in range(0, 40, 3):
        part = (texts[start:] + texts)[:size]
        np.testing.assert_array_equal(remembered.rows(part), compute(part))
        assert len(remembered._slots) <= 16


def test_rows_threads_share_them(monkeypatch):
    monkeypatch.setattr(recent, "MOST_ROWS", 16)
    remembered, wrong = RecentRows(2, compute), []

    def work(seed):
        generator = np.random.default_rng(seed)
        for _ in range(200):
            part = [f"text {i}" for i in generator.integers(0, 30, 8)]
            if not np.array_equal(remembered.rows(part), compute(part)):
                wrong.append(part)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
