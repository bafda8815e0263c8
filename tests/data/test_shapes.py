"""Every shape of rows, from every container: the same preferences, or a reason."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path

import pytest
from row_files import write
from shape_cases import CASES, Case, assistant, check, expected, user

import fspo_jax as fspo
from fspo_jax.data.readers import EXTENSIONS
from fspo_jax.data.rows.recognise import SHAPES
from fspo_jax.data.sources import load_pairs
from fspo_jax.errors import DataError, FspoError

case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)


def give_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@case
def test_load_users_every_shape_and_container_gives_the_same_preferences(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = case.make()
    for ending in EXTENSIONS:
        path = write(tmp_path / f"people{ending}", made)
        check(fspo.load_users(path), case)
        check(fspo.load_users(path.read_bytes()), case)
        give_stdin(monkeypatch, path.read_bytes())
        check(fspo.load_users("-"), case)
    check(fspo.load_users(made), case)
    check(fspo.load_users({"pairs": made}), case)
    check(fspo.load_users(json.loads(json.dumps({"pairs": made}))), case)


@case
def test_load_users_every_shape_from_datasets_gives_the_same_preferences(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_list(case.make())
    part.save_to_disk(tmp_path / "saved")
    check(fspo.load_users(tmp_path / "saved"), case)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict(train=part))
    check(fspo.load_users("owner/people"), case)


@case
def test_load_users_files_of_a_directory_are_read_together(case: Case, tmp_path: Path) -> None:
    made = case.make()
    for number, some in enumerate((made[:5], made[5:])):
        write(tmp_path / f"{number}.jsonl", some)
    check(fspo.load_users(tmp_path), case)


@case
def test_load_pairs_every_shape_is_one_person_without_user_id(case: Case, tmp_path: Path) -> None:
    made = [{k: v for k, v in row.items() if k != "user_id"} for row in case.make()]
    for path in (write(tmp_path / "x.jsonl", made), write(tmp_path / "x.csv", made), made):
        (person,) = load_pairs(path)
        together = [expected(case, k) for k in (7, 8)]
        assert set(person.preferences) == {*together[0], *together[1]}
        assert (person.user_id, len(person.preferences)) == ("", 6)
    with pytest.raises(DataError, match=r"x.csv: missing column user_id\. .* Add a column user_id"):
        fspo.load_users(tmp_path / "x.csv")


@case
def test_format_asks_for_a_shape_and_refuses_others(case: Case) -> None:
    (key,) = (key for key, shape in SHAPES.items() if case.make.__name__ in _made_by(key) and shape)
    check(fspo.load_users(case.make(), format=key), case)
    other = "kto" if key != "kto" else "winner"
    message = (
        rf"the format '{other}' needs the columns {SHAPES[other].example}\. Found: .*--columns .*label=\.\.\."
    )
    with pytest.raises(
        DataError, match=message if other == "kto" else message.replace("label", "response_a")
    ):
        fspo.load_users(case.make(), format=other)


def _made_by(key: str) -> tuple[str, ...]:
    return {
        "rows": (
            "rows",
            "chats",
            "implicit_texts",
            "implicit_chats",
            "prompt_and_whole_chats",
            "prompt_and_whole_chats_with_messages",
        ),
        "winner": ("winners", "winning_chats"),
        "ratings": ("ratings", "ratings_beside"),
        "kto": ("labelled",),
    }[key]


JUNK = [
    None, 3, -1.5, float("nan"), True, "", " ", "\ud800", [], {}, [[]], [{}], "[{", "[{}]", b"x", "x" * 60_000,
    [user("x")], [user("x"), assistant("y")], [{"role": "user", "content": None}], [{"from": 1, "value": 2}],
    {"role": "assistant", "content": [{"type": "image_url"}]}, "tie", "c", 2**70,
]  # fmt: skip


@case
def test_load_users_damaged_rows_are_rejects_or_refused_never_a_traceback(case: Case, tmp_path: Path) -> None:
    chance = random.Random(case.make.__name__)
    seen = {"users": 0, "rejects": 0, "refused": 0}
    for number in range(150):
        made = case.make()
        for _ in range(chance.randint(1, 4)):
            damaged = chance.choice(made)
            column = chance.choice([*damaged, "winner", "prompt", "messages"])
            if chance.random() < 0.2:
                damaged.pop(column, None)
            else:
                damaged[column] = chance.choice(JUNK)
        if number % 3 == 0:
            made.insert(chance.randrange(len(made)), chance.choice([3, None, [1], "x"]))
        for load in (fspo.load_users, load_pairs):
            try:
                loaded = load(made)
            except FspoError as error:
                assert len(str(error)) < 2000
                seen["refused"] += 1
                continue
            assert all(reject.reason and reject.line > 0 for reject in loaded.rejects)
            assert loaded.counts["rows"] == len(made) and loaded.counts["kept"] >= 0
            loaded.summary()
            seen["users"] += bool(loaded.users)
            seen["rejects"] += bool(loaded.rejects)
    assert min(seen.values()) > 0, seen
