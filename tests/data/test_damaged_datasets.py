"""Damaged rows of published data sets, and of the files beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_datasets import utterance, write_jsonl, write_prism

from fspo_jax.data.datasets.catalogue import dataset_labels
from fspo_jax.data.readers import read_values
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError
from fspo_jax.types import Preference


@pytest.mark.parametrize("turn", [10**400, float("nan"), "inf"], ids=["huge", "nan", "inf"])
def test_prism_turn_that_is_no_finite_number_is_set_aside(turn: Any, tmp_path: Path) -> None:
    good = utterance(0, "first?", "good", 90, True)
    write_jsonl(tmp_path / "utterances.jsonl", [good, good | {"turn": turn}])
    rejects = load_users(tmp_path, format="prism").rejects
    assert [(reject.line, reject.kind) for reject in rejects] == [(2, "wrong type")]


BAD_BESIDE = [
    ("prism", "survey", {"user_id": None, "location": {}}, "missing field: 'user_id' is missing"),
    ("prism", "survey", {"user_id": "b", "location": "Europe"}, "wrong type: location cannot be read"),
    ("prism", "survey", {"user_id": "b", "location": [1]}, "wrong type: location cannot be read"),
    ("opinion_qa", "info", {"key": "Q2", "question": "Why?"}, "missing field: 'references' is missing"),
    ("opinion_qa", "info", {"key": "Q2", "question": " ", "references": "[]"}, "empty field: question is empty"),
    ("polis", "comments", {"comment-id": 9, "comment-body": ""}, "empty field: comment-body is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "row", "reason"), BAD_BESIDE)
def test_a_bad_row_on_which_others_depend_is_refused_with_its_line(
    name: str, file: str, row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    good = {
        "survey": {"user_id": "a", "location": {}},
        "info": {"key": "Q1", "question": "Safe?", "references": ["Very", "Not"]},
        "comments": {"comment-id": 1, "comment-body": "statement"},
    }[file]
    write_jsonl(tmp_path / f"{file}.jsonl", [good, row])
    for labels in ("utterances", "responses", "votes"):
        write_jsonl(tmp_path / f"{labels}.jsonl", [])
    with pytest.raises(DataError, match=rf"{file}\.jsonl, line 2: {reason}"):
        load_users(tmp_path, format=name)


def test_a_region_of_prism_is_read_from_a_table_that_was_written_as_text(tmp_path: Path) -> None:
    write_prism(tmp_path)
    for location in ("{'reside_region': 'Asia', 'birth': None}", '{"reside_region": "Asia", "birth": null}'):
        write_jsonl(tmp_path / "survey.jsonl", [{"user_id": "user1", "location": location}])
        assert load_users(tmp_path, format="prism").users[0].group == "Asia"


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ({"options": None}, "missing field"),
        ({"selections": "none"}, "wrong type"),
        ({"selections": {"France": 1}}, "wrong type"),
        ({"selections": {"France": [0.5, "most"]}}, "wrong type"),
    ],
)
def test_a_bad_row_of_global_opinions_is_set_aside(cells: dict[str, Any], kind: str, tmp_path: Path) -> None:
    good = {"question": "Trust?", "options": ["Yes", "No"], "selections": {"France": [0.6, 0.4]}}
    write_jsonl(tmp_path / "x.jsonl", [good, good | cells])
    loaded = load_users(tmp_path, format="global_opinion_qa")
    assert [(reject.line, reject.kind) for reject in loaded.rejects] == [(2, kind)]
    assert loaded.users[0].preferences == (Preference("Trust?", "Yes", "No"),)


def test_a_label_of_prism_ratings_names_its_own_file() -> None:
    first = [utterance(0, "first?", "good", 90, True), utterance(0, "first?", "bad", 10, False)]
    second = [utterance(1, "second?", "yes", 60, True)]
    files = [("utterances_1", read_values(first)), ("utterances_2", read_values(second))]
    assert [file for file, _ in dataset_labels("prism_ratings", files)] == ["utterances_1"]
