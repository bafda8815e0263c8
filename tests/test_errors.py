"""What messages are made of."""

from __future__ import annotations

import pytest

from fspo_jax.errors import FspoError, TrainingInterrupted, counted


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (8600, "8,600 rows")]
)
def test_counted_knows_singular_and_plural(count: int, text: str) -> None:
    assert counted(count, "row") == text


def test_counted_takes_an_irregular_plural() -> None:
    assert [counted(n, "person", "people") for n in (1, 2)] == ["1 person", "2 people"]


@pytest.mark.parametrize("quoted", ["\ud800", "a\udcffb", "\x00", "x" * 50_000])
def test_a_message_can_be_printed_whatever_it_quotes(quoted: str) -> None:
    printed = str(FspoError(f"{quoted}: no such file."))
    assert len(printed.encode()) < 10_000 and printed.endswith(": no such file.")
    assert TrainingInterrupted(quoted, 15).signal == 15


def test_a_cut_message_keeps_its_reason_between_long_paths() -> None:
    path = "/" + "x" * 5_000
    printed = str(FspoError(f"{path}: cannot be read ([Errno 36] File name too long: '{path}')."))
    assert "cannot be read ([Errno 36] File name too long" in printed and len(printed) < 1_000
