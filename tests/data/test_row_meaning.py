"""What a row says: ids, duplicates, winners, ratings, labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from row_files import write
from shape_cases import rows, winners

import fspo_jax as fspo
from fspo_jax.data.sources import load_pairs
from fspo_jax.errors import DataError
from fspo_jax.types import Preference


def test_ids_are_texts_whole_numbers_and_numbers_of_a_table_with_gaps(tmp_path: Path) -> None:
    made = [dict(row, user_id=id) for row, id in zip(rows(), (7, "7", 7.0, "07", 8, "seven"), strict=True)]
    counts = {u.user_id: len(u.preferences) for u in fspo.load_users(made)}
    assert counts == {"7": 3, "07": 1, "8": 1, "seven": 1}
    assert len(fspo.load_users(write(tmp_path / "x.csv", rows()))[0].preferences) == 3


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (("7", "7.0", " 7 ", "7.0 "), {"7": 4}),
        (("-1.0", "-1", "07.0", "07"), {"-1": 2, "07": 2}),
        (("ana", " ana", "ana\t", "ana "), {"ana": 4}),
        (("Zo\u00eb", "Zoe\u0308", "Zo\u00eb ", "Zoe"), {"Zo\u00eb": 3, "Zoe": 1}),
        (("7.5", "7.00", "v7.0", "1.7.0"), {"7.5": 1, "7.00": 1, "v7.0": 1, "1.7.0": 1}),
    ],
)
def test_ids_that_look_the_same_are_one_person(tmp_path: Path, ids: tuple, expected: dict) -> None:
    made = [dict(row, user_id=id) for row, id in zip(rows(), ids, strict=False)]
    loaded = fspo.load_users(write(tmp_path / "x.csv", made))
    assert {user.user_id: len(user.preferences) for user in loaded} == expected


def test_winner_of_three_with_an_empty_cell_keeps_the_other_pairs(tmp_path: Path) -> None:
    head, cells = "user_id,prompt,response_a,response_b,response_c,winner", ("u,1,,y,z,c", "u,2,x,y,,a")
    (tmp_path / "x.csv").write_text("\n".join((head, *cells, "u,3,x,,,a", "u,4,,y,z,a")))
    loaded = fspo.load_users(tmp_path / "x.csv")
    assert loaded[0].preferences == (Preference("1", "z", "y"), Preference("2", "x", "y"))
    assert loaded.summary().startswith("2 of 4 rows kept, 1 user; 2 set aside")
    assert [one.reason for one in loaded.rejects] == [
        "only the winner, 'response_a', has a text",
        "response_a is empty",
    ]


def test_duplicates_count_once_and_it_is_said() -> None:
    made = [*rows(), *rows()[:2]]
    loaded = fspo.load_users(made)
    assert loaded.counts == {"rows": 8, "kept": 6, "duplicate": 2}
    assert "2 set aside: duplicate 2" in loaded.summary()
    pairs = load_pairs([dict(row, user_id=7) for row in made])
    assert len(pairs[0].preferences) == 6 and "duplicate 2" in pairs.summary()


def test_load_pairs_rows_without_an_id_are_of_the_same_person_as_the_others() -> None:
    made = [dict(row, user_id=id) for row, id in zip(rows(), (7, None, "7", None, 7.0, "7"), strict=True)]
    (person,) = load_pairs(made)
    assert len(person.preferences) == 6


def test_load_pairs_of_several_people_are_refused_under_any_name() -> None:
    with pytest.raises(DataError, match="the pairs belong to 2 users, but a reward adapts to one at a time"):
        load_pairs(rows())
    other = [{"annotator" if k == "user_id" else k: v for k, v in row.items()} for row in rows()]
    with pytest.raises(DataError, match="belong to 2 users"):
        load_pairs(other)
    assert len(load_pairs([row for row in other if row["annotator"] == 7])[0].preferences) == 3


def test_winners_ties_are_dropped_and_counted_and_other_values_are_set_aside() -> None:
    made = winners()
    values = ("tie", "tie (bothbad)", "both", "c", "", "a")
    loaded = fspo.load_users([dict(row, winner=value) for row, value in zip(made, values, strict=True)])
    assert loaded.counts == {"rows": 6, "kept": 1, "tie": 3, "wrong type": 1, "missing field": 1}
    assert "3 ties dropped; 2 set aside" in loaded.summary()
    assert loaded.rejects[0].reason == (
        "winner must be one of 'a', 'b', 'answer_a', 'answer_b', 'response_a', 'response_b', 'model_a', 'model_b' or "
        "'tie', not 'c'"
    )
    assert fspo.load_users([*made, dict(made[0], winner="tie")], strict=True).counts["tie"] == 1


@pytest.mark.parametrize(("values", "first"), [((1, 2), 1), (("1", "2"), "1"), ((1.0, 2.0), 1.0)])
def test_winners_of_numbered_responses_are_their_numbers(values: tuple, first: object) -> None:
    made = [{"prompt": f"p{v}", "response_1": "x", "response_2": "y", "choice": v} for v in values]
    preferences = load_pairs(made)[0].preferences
    assert [p.chosen for p in preferences] == ["x", "y"]
    with pytest.raises(DataError, match=r"'choice' has the value 0, .*Replace them by '1', '2' \(the resp"):
        load_pairs([*made, {**made[0], "choice": 0}])  # then 1 may be the second


def test_winner_of_four_is_preferred_to_each_other_one() -> None:
    made = [
        {"prompt": "p", "answer_a": "w", "answer_b": "x", "answer_c": "y", "answer_d": None, "winner": "b"}
    ]
    assert load_pairs(made)[0].preferences == (Preference("p", "x", "w"), Preference("p", "x", "y"))


def test_ratings_are_compared_on_the_scale_of_their_rater() -> None:
    made = [
        {"user_id": u, "prompt": "p", "response": f"r{i}", "rating": value}
        for u, values in ((1, (1, 5, 60)), (2, (61, 64, 100)))  # one is harsh, one is lenient
        for i, value in enumerate(values)
    ]
    loaded = fspo.load_users(made)
    chosen = {u.user_id: [(p.chosen, p.rejected) for p in u.preferences] for u in loaded}
    assert chosen == {"1": [("r2", "r0"), ("r2", "r1")], "2": [("r2", "r0"), ("r2", "r1")]}
    assert loaded.summary().startswith("6 of 6 rows kept, 4 pairs, 2 users; read as ratings")


@pytest.mark.parametrize("value", [10**400, float("nan"), "inf"], ids=["huge", "nan", "inf"])
def test_rating_that_is_no_finite_number_is_set_aside(value: object) -> None:
    made = [
        {"user_id": 1, "prompt": "p", "response": f"r{i}", "rating": rating}
        for i, rating in enumerate((1, 60, value))
    ]
    loaded = fspo.load_users(made)
    assert [(reject.line, reject.kind) for reject in loaded.rejects] == [(3, "wrong type")]
    assert loaded[0].preferences == (Preference("p", "r1", "r0"),)


def test_labelled_responses_without_a_partner_are_set_aside_with_the_reason() -> None:
    made = [
        {"user_id": u, "prompt": "p", "completion": text, "label": label}
        for u, text, label in (
            (1, "x", True),
            (2, "y", False),
            (1, "z", "false"),
            (1, "w", 0),
            (1, "v", "maybe"),
        )
    ]
    loaded = fspo.load_users(made)
    assert loaded[0].preferences == (Preference("p", "x", "z"),)
    assert [(r.line, r.kind) for r in loaded.rejects] == [
        (2, "no partner"),
        (4, "no partner"),
        (5, "wrong type"),
    ]
    assert loaded.rejects[0].reason == (
        "no other response of this user to this prompt is labelled good, so it makes no pair"
    )
    assert loaded.summary().startswith(
        "2 of 5 rows kept, 1 pair, 1 user; 3 set aside: wrong type 1, no partner 2"
    )
