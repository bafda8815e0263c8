"""Every shape of rows, from every container: the same preferences, or a reason."""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from row_files import write

import fspo_jax as fspo
from fspo_jax.data.readers import EXTENSIONS
from fspo_jax.data.rows.recognise import SHAPES
from fspo_jax.data.sources import load_pairs
from fspo_jax.errors import DataError, FspoError
from fspo_jax.types import Message, Preference, Prompt

Rows = list[dict[str, Any]]
PAIRS = [(7 + i % 2, f"Why, {i}?", f"good é {i}", f'bad "{i}", no') for i in range(6)]
"""Person, prompt, chosen and rejected."""


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def rows() -> Rows:
    return [dict(zip(("user_id", "prompt", "chosen", "rejected"), pair, strict=True)) for pair in PAIRS]


def chats() -> Rows:
    return [
        {"user_id": u, "prompt": [user(p)], "chosen": [assistant(c)], "rejected": [assistant(r)]}
        for u, p, c, r in PAIRS
    ]


def implicit_texts() -> Rows:
    return [
        {"user_id": u, "chosen": f"Human: {p}\n\nAssistant: {c}", "rejected": f"Human: {p}\n\nAssistant: {r}"}
        for u, p, c, r in PAIRS
    ]


def implicit_chats() -> Rows:
    return [
        {"user_id": u, "chosen": [user(p), assistant(c)], "rejected": [user(p), assistant(r)]}
        for u, p, c, r in PAIRS
    ]


def prompt_and_whole_chats() -> Rows:
    return [
        {"user_id": u, "prompt": p, "chosen": [user(p), assistant(c)], "rejected": [user(p), assistant(r)]}
        for u, p, c, r in PAIRS
    ]


def prompt_and_whole_chats_with_messages() -> Rows:
    return [row | {"messages": row["chosen"]} for row in prompt_and_whole_chats()]


def winners() -> Rows:
    return [
        {
            "user_id": u,
            "question": p,
            "answer_a": r if i % 2 else c,
            "answer_b": c if i % 2 else r,
            "winner": ["a", "model_b", "A", "answer_b", " a", "B"][i],
        }
        for i, (u, p, c, r) in enumerate(PAIRS)
    ]


def winning_chats() -> Rows:
    return [
        {
            "user_id": u,
            "model_a": "m",
            "model_b": "n",
            "winner": "model_b",
            "conversation_a": [user(p), assistant(r)],
            "conversation_b": [user(p), assistant(c)],
        }
        for u, p, c, r in PAIRS
    ]


def ratings() -> Rows:
    return [
        {"user_id": u, "prompt": p, "response": text, "score": value}
        for u, p, c, r in PAIRS
        for text, value in ((r, 20), (c, 90))
    ]


def ratings_beside() -> Rows:
    return [
        {"user_id": u, "prompt": p, "response_1": c, "response_2": r, "rating_1": 5, "rating_2": 1}
        for u, p, c, r in PAIRS
    ]


def labelled() -> Rows:
    return [
        {"user_id": u, "prompt": p, "completion": text, "label": good}
        for good in (True, False)
        for u, p, c, r in PAIRS
        for text in ((c,) if good else (r,))
    ]


def plain(text: str) -> Prompt:
    return text


def conversation(text: str) -> Prompt:
    return (Message("user", text),)


class Case(NamedTuple):
    """Rows, what their prompts become, what their chosen and rejected begin with, and how the output calls them."""

    make: Callable[[], Rows]
    prompt: Callable[[str], Prompt]
    name: str
    start: str = ""


CASES = [
    Case(rows, plain, "preference rows (prompt, chosen, rejected)"),
    Case(chats, conversation, "TRL preference rows with chats (prompt, chosen, rejected)"),
    Case(
        implicit_texts,
        lambda text: f"Human: {text}\n\nAssistant:",
        "TRL preference rows with implicit prompt (chosen, rejected)",
        " ",
    ),
    Case(implicit_chats, conversation, "TRL preference rows with implicit prompt (chosen, rejected)"),
    Case(prompt_and_whole_chats, plain, "TRL preference rows with chats (prompt, chosen, rejected)"),
    Case(
        prompt_and_whole_chats_with_messages,
        plain,
        "TRL preference rows with chats (prompt, chosen, rejected)",
    ),
    Case(winners, plain, "winner columns (question, winner, answer_a, answer_b)"),
    Case(winning_chats, conversation, "winner columns (winner, conversation_a, conversation_b)"),
    Case(ratings, plain, "ratings (prompt, response, score), on each rater's own scale"),
    Case(
        ratings_beside,
        plain,
        "ratings (prompt, response_1, response_2, rating_1, rating_2), on each rater's own scale",
    ),
    Case(labelled, plain, "KTO labelled responses (prompt, completion, label), paired within a prompt"),
]
case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.make.__name__)


def expected(case: Case, person: int) -> tuple[Preference, ...]:
    return tuple(
        Preference(case.prompt(p), case.start + c, case.start + r) for u, p, c, r in PAIRS if u == person
    )


def check(loaded: Any, case: Case) -> None:
    assert {u.user_id: u.preferences for u in loaded} == {str(k): expected(case, k) for k in (7, 8)}
    assert not loaded.rejects and loaded.shapes == (case.name,)
    assert f"2 users; read as {case.name}" in loaded.summary()


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


# what is ambiguous is refused


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


def test_load_users_ambiguous_columns_are_read_as_told() -> None:
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
def test_columns_wrong_say_what_was_meant(columns: str, message: str) -> None:
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


# what a row says


def test_ids_are_texts_whole_numbers_and_numbers_of_a_table_with_gaps(tmp_path: Path) -> None:
    made = [dict(row, user_id=id) for row, id in zip(rows(), (7, "7", 7.0, "07", 8, "seven"), strict=True)]
    counts = {u.user_id: len(u.preferences) for u in fspo.load_users(made)}
    assert counts == {"7": 3, "07": 1, "8": 1, "seven": 1}
    assert len(fspo.load_users(write(tmp_path / "x.csv", rows()))[0].preferences) == 3


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


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"role": "user", "content": "x", "name": None, "tool_calls": None}, "x"),
        ({"role": "user", "content": "x", "name": "ana", "created": 3, "tool_calls": []}, "x"),
        ({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, "x\ny"),
        ({"role": "user", "content": [{"type": "input_text", "text": "x", "annotations": []}, "y"]}, "x\ny"),
        ({"from": "human", "value": "x"}, "x"),
    ],
)
def test_messages_whose_meaning_is_clear_are_read(message: dict, content: str) -> None:
    made = {"prompt": [message], "chosen": {"role": "assistant", "content": "a"}, "rejected": "b"}
    assert load_pairs([made])[0].preferences == (Preference([user(content)], "a", "b"),)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
            "prompt[0].content[0] is of type 'im",
        ),
        (
            {"role": "user", "content": [3]},
            "prompt[0].content[0] is 3; only parts of type 'text' can be read",
        ),
        (
            {"role": "user", "content": "", "tool_calls": [{"id": 1}]},
            "prompt[0] has 'tool_calls'; only text can be read",
        ),
        (
            {"role": "user", "content": None},
            "prompt[0] must have the keys 'role' and 'content', not ['role']",
        ),
        ({"text": "x"}, "prompt[0] must have the keys 'role' and 'content', not ['text']"),
    ],
)
def test_messages_of_other_content_are_set_aside_with_the_reason(message: dict, reason: str) -> None:
    loaded = fspo.load_users([*rows(), dict(rows()[0], prompt=[message])])
    assert [(r.line, r.kind) for r in loaded.rejects] == [(7, "wrong type")]
    assert loaded.rejects[0].reason.startswith(reason)


def test_implicit_prompt_ends_at_a_word_and_needs_a_common_beginning() -> None:
    made = [{"chosen": f"Which {i}? Blueberries", "rejected": f"Which {i}? Blackberries"} for i in range(20)]
    loaded = load_pairs(made)
    assert loaded[0].preferences[0] == Preference("Which 0? ", "Blueberries", "Blackberries")
    made[3] = {"chosen": "Yes", "rejected": "No"}
    with pytest.raises(
        DataError,
        match="pair 4: there is no prompt, and the texts chosen and rejected have no common beginning",
    ):
        load_pairs(made)
    with pytest.raises(DataError, match="missing column prompt"):  # most do not begin alike
        load_pairs(json.dumps(made[3:5]).encode())


def test_explicit_prompt_must_be_in_the_chats_that_begin_with_one() -> None:
    made = prompt_and_whole_chats()
    made[2]["prompt"] = "Something else?"
    (reject,) = fspo.load_users(made).rejects
    assert (reject.line, reject.kind) == (3, "malformed row")
    assert reject.reason == "chosen and rejected do not begin with the prompt"


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


# containers


def test_csv_of_semicolons_or_tabs_is_read(tmp_path: Path) -> None:
    for separator in ";\t":
        text = f"user_id{separator}prompt{separator}chosen{separator}rejected\n7{separator}p, q{separator}x{separator}y"
        assert fspo.load_users(text.encode())[0].preferences == (Preference("p, q", "x", "y"),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"nonsense", "is empty"),
        (b"nonsense\nmore", "missing column user_id, prompt, chosen, rejected. Found: nonsense"),
        (b'{"user_id": 1', "no row can be read. The first, line 1: broken JSON"),
        (b"PAR1", "not a readable parquet file"),
        (b"\x1f\x8bxx", "damaged or truncated gzip data"),
        ("a".encode("utf-16"), "UTF-16"),
        (3, "pairs must be a list of rows such as {prompt, chosen, rejected}, not 3"),
        ({"pairs": "x"}, "pairs must be a list of rows"),
    ],
)
def test_load_users_bytes_and_values_that_are_no_rows_say_so(data: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        fspo.load_users(data)
    assert message in str(caught.value)


def test_load_users_spreadsheet_says_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="Save a spreadsheet as CSV in UTF-8"):
        fspo.load_users(tmp_path / "x.xlsx")


def test_load_users_named_pipe_is_read_like_standard_input(tmp_path: Path) -> None:
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "\n".join(json.dumps(row) for row in rows())
    writer = threading.Thread(target=lambda: pipe.write_text(text), daemon=True)
    writer.start()
    assert len(fspo.load_users(pipe)) == 2
