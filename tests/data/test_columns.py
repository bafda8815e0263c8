"""Columns: what is ambiguous, missing or mistyped is named, and columns are read as told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shape_cases import rows

import fspo_jax as fspo
from fspo_jax.data.sources import load_pairs
from fspo_jax.errors import DataError
from fspo_jax.types import Preference


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "chosen": "a", "rejected": "b", "answer_a": "a", "answer_b": "b", "winner": "a"},
            r"can be read as preference rows \(prompt.* or as winner columns .*--format 'rows' or 'winner'",
        ),
        (
            {
                "question": "p",
                "answer_a": "a",
                "answer_b": "b",
                "winner": "a",
                "preferred": "b",
                "query": "q",
            },
            r"2 columns could be the prompt: question, query\. Say which, e\.g\. --columns prompt=question",
        ),
        (
            {"prompt": "p", "answer_a": "a", "answer_b": "b", "choice": "a", "preferred": "b"},
            r"2 columns could be the winner: preferred, choice\. Say which, e\.g\. --columns winner=preferred",
        ),
        (
            {"prompt": "p", "text_1": "a", "text_2": "b", "answer_1": "a", "answer_2": "b", "winner": 1},
            r"2 sets of columns could be the responses: text_1, text_2; answer_1, answer_2\. .*response_1=text_1,resp",
        ),
        (
            {"context": "p", "chosen": "a", "rejected": "b"},
            r"no column 'prompt', but 'context' may be it\. If so, say --columns prompt=context",
        ),
        (
            {"prompt": "p", "response_1": "a", "response_2": "b", "rating_1": 1, "rating_2": 5, "winner": 2},
            r"as winner columns .* or as ratings .*--format 'winner' or 'ratings'",
        ),
    ],
)
def test_load_users_ambiguous_columns_are_refused_with_the_candidates(row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fspo.load_users([{"user_id": 1, **row}])


def test_load_users_ambiguous_columns_are_read_as_named() -> None:
    row = {
        "user_id": 1,
        "question": "p",
        "query": "q",
        "answer_a": "x",
        "answer_b": "y",
        "winner": "b",
        "better": "z",
        "rejected": "w",
    }
    loaded = fspo.load_users([row], columns={"prompt": "query", "winner": "winner"})
    assert loaded[0].preferences == (Preference("q", "y", "x"),)
    loaded = fspo.load_users([row], columns="prompt=question,chosen=better")
    assert loaded[0].preferences == (Preference("p", "z", "w"),)
    assert loaded.ignored_columns == {"query": 1, "answer_a": 1, "answer_b": 1, "winner": 1}


def test_columns_name_every_role_of_own_columns() -> None:
    row = {"who": 7, "q": "p", "left": "x", "right": "y", "verdict": "right", "place": "north"}
    given = {
        "user_id": "who",
        "prompt": "q",
        "response_a": "left",
        "response_b": "right",
        "winner": "verdict",
    }
    loaded = fspo.load_users([row], columns=given | {"group": "place"})
    assert (loaded[0].user_id, loaded[0].group) == ("7", "north")
    assert loaded[0].preferences == (Preference("p", "y", "x"),)
    row = {"who": 7, "q": "p", "one": "x", "two": "y", "points for one": 1, "points, two": 5}
    told = 'user_id=who,prompt=q,response_1=one,response_2=two,rating_1=points for one,"rating_2=points, two"'
    assert fspo.load_users([row], columns=told)[0].preferences == (Preference("p", "y", "x"),)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            "promt=q",
            r"unknown role 'promt'\. Did you mean 'prompt'\? Known: user_id, group, .*response_a",
        ),
        (
            "prompt",
            "columns must look like 'prompt=question,chosen=better', with each role once, not 'prompt'",
        ),
        ("prompt=a,prompt=b", "each role once"),
        ("prompt=prompd", r"no column 'prompd' for prompt\. Did you mean 'prompt'\? Found: user_id, prompt"),
    ],
)
def test_wrong_columns_name_the_closest_role(columns: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fspo.load_users(rows(), columns=columns)


def test_unknown_columns_name_those_found_and_how_to_map_them() -> None:
    row = {"annotator": 7, "question": "p", "better": "x", "worse": "y"}
    with pytest.raises(
        DataError, match=r"missing column user_id, chosen, rejected.*winner.*--columns user_id=annotator"
    ):
        fspo.load_users(json.dumps(row).encode())
    votes = {"user_id": 7, "question": "p", "option_a": "x", "option_b": "y", "winner": "a"}
    hint = "--columns response_a=option_a,response_b=option_b"
    with pytest.raises(DataError, match=f"missing column response_a, response_b. .*{hint}"):
        load_pairs(json.dumps(votes).encode())
    asked = load_pairs(json.dumps(votes).encode(), columns=hint.removeprefix("--columns "))
    assert asked[0].preferences == (Preference("p", "x", "y"),)
    rated = {"user_id": 7, "question": "p", "said": "x", "rating": 3}
    with pytest.raises(DataError, match=r"missing column response\. "):
        load_pairs(json.dumps(rated).encode())
    loaded = fspo.load_users([row], columns="prompt=question,chosen=better,rejected=worse,user_id=annotator")
    assert loaded.summary() == "1 of 1 row kept, 1 user; read as preference rows (question, better, worse)"


def test_mistyped_column_is_named_where_it_is_ignored_and_refused_for_one_person() -> None:
    made = [{**row, "gruop": "north", "score": 1, "prompt_id": 3} for row in rows()]
    loaded = fspo.load_users(made)
    assert loaded.summary().endswith("ignored columns: gruop (did you mean 'group'?), score, prompt_id")
    with pytest.raises(DataError, match=r"unknown column 'gruop'\. Did you mean 'group'\?"):
        load_pairs([{**made[0], "user_id": 7}])


@pytest.mark.parametrize(
    "head",
    [
        "user_id, prompt, chosen ,\trejected",
        "sep=,\nuser_id,prompt,chosen,rejected",
        'SEP=,\r\n"user_id","prompt","chosen","rejected"',
        "sep=;\nuser_id;prompt;chosen;rejected",
        "\ufeffsep=|\nuser_id|prompt|chosen|rejected",
    ],
)
@pytest.mark.parametrize("as_bytes", [False, True])
def test_header_of_a_spreadsheet_is_read(tmp_path: Path, head: str, as_bytes: bool) -> None:
    separator = next(mark for mark in "|;," if mark in head)
    data = "\n".join((head, separator.join(("u", "p", "x", "y")), "short")).encode()
    (tmp_path / "x.csv").write_bytes(data)
    loaded = fspo.load_users(data if as_bytes else tmp_path / "x.csv")
    assert loaded[0] == fspo.User("u", (Preference("p", "x", "y"),), loaded[0].source)
    assert loaded.rejects[0].line == 3 + ("sep" in head.lower())


@pytest.mark.parametrize(
    ("head", "hint"),
    [
        ("User_ID,Prompt,Chosen,Rejected", "user_id=User_ID,prompt=Prompt,chosen=Chosen,rejected=Rejected"),
        ("USER_ID,prompt,chosen,rejected", "user_id=USER_ID"),
        ("Annotator,prompt,chosen,rejected", "user_id=Annotator"),
        (
            "user_id,prompt,Response_A,response_B,Winner",
            "response_a=Response_A,response_b=response_B,winner=Winner",
        ),
    ],
)
def test_columns_in_other_case_are_suggested(head: str, hint: str) -> None:
    data = f"{head}\nu,p,x,y{',a' * (head.count(',') - 3)}".encode()
    with pytest.raises(DataError, match=f"--columns {hint} ") as caught:
        fspo.load_users(data)
    assert str(caught.value).startswith("the bytes: missing column")
