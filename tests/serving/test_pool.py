"""Where the questions of the page come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fspo_jax.errors import DataError, FspoError, LimitError
from fspo_jax.serving.limits import Limits
from fspo_jax.serving.pool import bundled_pool, read_pool
from fspo_jax.types import Preference, Prompt


def test_pool_of_the_package_has_enough_pairs_of_readable_length() -> None:
    pool = bundled_pool()
    assert 200 <= len(pool.pairs) <= 300
    assert max(len(pair.chosen) for pair in pool.pairs.values()) < 1500
    assert not any(
        "http" in pair.chosen + pair.rejected for pair in pool.pairs.values()
    )  # links lead nowhere


@pytest.mark.parametrize("form", ["lines", "list"])
def test_pool_is_read_from_a_file(tmp_path: Path, form: str) -> None:
    rows = [
        '{"prompt": "q", "candidates": ["a", {"text": "b"}, "b"]}',
        '{"prompt": [{"role": "user", "content": "p"}], "candidates": ["c", "d"]}',
    ]
    path = tmp_path / "pool.json"
    path.write_text("\n\n".join(rows) if form == "lines" else f"[{','.join(rows)}]")
    assert [(pair.chosen, pair.rejected) for pair in read_pool(path, Limits()).pairs.values()] == [
        ("a", "b"),
        ("c", "d"),
    ]


def test_candidates_that_a_file_does_not_have_are_written(tmp_path: Path) -> None:
    path, asked = tmp_path / "pool.json", []
    path.write_text('{"prompt": "q"}\n{"prompt": "r", "candidates": ["c", "d"]}')

    def write(prompt: Prompt, n: int) -> list[str]:
        asked.append((prompt, n))
        return ["one", "two", " ", "one"]

    pairs = read_pool(path, Limits(), write).pairs.values()
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs] == [
        ("q", "one", "two"),
        ("r", "c", "d"),
    ]
    assert asked == [("q", 4)]
    path.write_text('{"prompt": "q"}\n{"prompt": " "}')
    with pytest.raises(DataError, match=r"pool\[1\]: prompt is empty"):  # before the first is written
        read_pool(path, Limits(), write)
    path.write_text("\n".join('{"prompt": "q"}' for _ in range(2_000)))
    with pytest.raises(LimitError, match=r"2,000 prompts have no candidates.* more than 10,000 pairs"):
        read_pool(path, Limits(), write)
    assert asked == [("q", 4)]
    path.write_text('{"prompt": "q"}')
    with pytest.raises(DataError, match="has no pair"):
        read_pool(path, Limits(), lambda prompt, n: ["", "one"])


def test_prompts_for_which_a_model_writes_no_two_texts_are_left_out(tmp_path: Path, caplog) -> None:
    path = tmp_path / "pool.json"
    path.write_text("\n".join(f'{{"prompt": "{prompt}"}}' for prompt in "abcd"))
    texts = {
        "a": [" "] * 4,
        "b": ["one"] * 4,
        "c": ["\ud800", "\udfff", "x" * 50_001, "one"],
        "d": ["one", "two"],
    }
    (pair,) = read_pool(path, Limits(), lambda prompt, n: texts[prompt]).pairs.values()
    assert pair == Preference("d", "one", "two")
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"the model wrote no two different texts for prompt {number}, which is left out"
        for number in (1, 2, 3)
    ]


def test_prompts_whose_model_fails_are_left_out_loudly_unless_all_are(tmp_path: Path, caplog) -> None:
    def write(prompt: Prompt, n: int) -> list[str]:
        if prompt in ("a", "b", "e"):
            raise FspoError("it is down." if prompt != "e" else "too long.")
        return ["one", "two"]

    path = tmp_path / "pool.json"
    path.write_text("\n".join(f'{{"prompt": "{prompt}"}}' for prompt in "abcde"))
    assert [pair.prompt for pair in read_pool(path, Limits(), write).pairs.values()] == ["c", "d"]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "2 prompts have no candidates and are left out, because no model could write them: it is down.",
        "1 prompt has no candidates and is left out, because no model could write them: too long.",
    ]
    path.write_text('{"prompt": "a"}\n{"prompt": "e"}')
    with pytest.raises(FspoError, match=r"it is down\."):
        read_pool(path, Limits(), write)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", DataError, "pool must be a list"),
        ("{", DataError, "cannot be read as JSON"),
        ('{"prompt": "q"}', DataError, r"pool.json: pool\[0\]: request: 'candidates' is missing"),
        ('{"prompt": "q", "candidates": ["a", "a"]}', DataError, "has no pair"),
        ('{"prompt": "q", "candidates": ["a", 1]}', DataError, r"candidates\[1\]"),
        ('["q"]', DataError, r"pool\[0\]"),
        (
            json.dumps({"prompt": "q", "candidates": [str(i) for i in range(200)]}),
            LimitError,
            "10,000",
        ),
    ],
)
def test_pool_with_a_fault_is_refused(tmp_path: Path, text: str, kind: type, words: str) -> None:
    path = tmp_path / "pool.json"
    path.write_text(text)
    with pytest.raises(kind, match=words):
        read_pool(path, Limits())
