"""WikiPersonas: pairs of famous people, and what was inferred of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_datasets import write_jsonl, write_wiki_personas

from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError


def test_wiki_personas_describes_people_by_what_was_inferred_of_them(tmp_path: Path) -> None:
    write_wiki_personas(tmp_path)
    write_jsonl(tmp_path / "train_bo.jsonl", [{"name": "Bo", "prompt": "p", "yw": "w", "yl": "l"}])
    users = load_users(tmp_path, format="wiki_personas").users
    assert {user.user_id: user.description for user in users} == {"Ada": "Likes sums.", "Bo": ""}
    (tmp_path / "personas.jsonl").unlink()
    users = load_users(tmp_path, format="wiki_personas").users
    assert {user.description for user in users} == {""}


def test_wiki_personas_without_the_inferred_column_names_it(tmp_path: Path) -> None:
    write_wiki_personas(tmp_path)
    write_jsonl(tmp_path / "personas.jsonl", [{"name": "Ada", "description": "a mathematician"}])
    with pytest.raises(
        DataError, match="column 'persona_xy_4s_gpt4' of the schema of wiki_personas is missing"
    ):
        load_users(tmp_path, format="wiki_personas")


def test_wiki_personas_with_a_nameless_person_gives_the_line(tmp_path: Path) -> None:
    write_wiki_personas(tmp_path)
    write_jsonl(
        tmp_path / "personas.jsonl",
        [
            {"name": "Ada", "persona_xy_4s_gpt4": "Likes sums."},
            {"name": None, "persona_xy_4s_gpt4": "Likes sums."},
        ],
    )
    with pytest.raises(DataError, match=r"personas\.jsonl.* line 2: missing field: 'name' is missing"):
        load_users(tmp_path, format="wiki_personas")


def test_wiki_personas_reads_pairs_whatever_their_file_is_called(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "wiki_personas.jsonl", [{"name": "Ada", "prompt": "p", "yw": "w", "yl": "l"}])
    assert len(load_users(tmp_path, format="wiki_personas").users) == 1
    (tmp_path / "wiki_personas.jsonl").rename(tmp_path / "personas.jsonl")
    write_jsonl(tmp_path / "personas.jsonl", [{"name": "Ada", "persona_xy_4s_gpt4": "Likes sums."}])
    with pytest.raises(DataError, match="there is no file of pairs"):
        load_users(tmp_path, format="wiki_personas")


@pytest.mark.parametrize(
    ("answers", "kind", "reason"),
    [
        ({}, "missing field", "'chosen' is missing, and so are 'yw' and 'yl'"),
        ({"yw": "w"}, "missing field", "'yl' is missing"),
        ({"chosen": "w", "rejected": "l"}, "wrong type", "chosen must be a list of messages"),
    ],
)
def test_wiki_personas_sets_a_row_without_two_answers_aside(
    answers: dict[str, str], kind: str, reason: str, tmp_path: Path
) -> None:
    good = {"name": "Ada", "prompt": "p", "yw": "w", "yl": "l"}
    write_jsonl(tmp_path / "train.jsonl", [good, {"name": "Ada", "prompt": "q", **answers}])
    loaded = load_users(tmp_path, format="wiki_personas")
    assert [(r.line, r.kind, r.reason) for r in loaded.rejects] == [(2, kind, reason)]
