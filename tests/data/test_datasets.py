"""Named data sets, on small files with the published columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fspo_jax.data.datasets.catalogue import DATASETS
from fspo_jax.data.datasets.synthetic import REWARD_MODELS, SIMULATED_USERS
from fspo_jax.data.sources import load_users
from fspo_jax.errors import DataError
from fspo_jax.types import Message, Preference

Rows = Sequence[Mapping[str, Any]]


def write_jsonl(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, rows: Rows) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


LEVELS = {"level_x": "a", "level_y": "b", "scorer_level": "u"}
STEERED = [
    {"prompt": "p1", "response_x": "x1", "response_y": "y1", "label": 0, **LEVELS},
    {"prompt": "p2", "response_x": "x2", "response_y": "y2", "label": 1, **LEVELS},
]
STEERED_PAIRS = {"u": [Preference("p1", "x1", "y1"), Preference("p2", "y2", "x2")]}


def write_steered(path: Path) -> None:
    write_jsonl(path / "train.jsonl", STEERED)


def write_roleplay(path: Path) -> None:
    write_jsonl(
        path / "train.jsonl", [{"level": "id1", "score_persona": "text", "x": "q", "yw": "w", "yl": "l"}]
    )


def utterance(turn: int, prompt: str, response: str, score: int, chosen: bool) -> dict[str, Any]:
    return {
        "utterance_id": f"{turn}{response}",
        "interaction_id": f"i{turn}",
        "conversation_id": "c1",
        "user_id": "user1",
        "turn": turn,
        "user_prompt": prompt,
        "model_response": response,
        "score": score,
        "if_chosen": chosen,
    }


def write_prism(path: Path) -> None:
    write_jsonl(path / "survey.jsonl", [{"user_id": "user1", "location": {"reside_region": "Europe"}}])
    write_jsonl(
        path / "utterances.jsonl",
        [
            utterance(1, "second?", "yes", 60, True),
            utterance(1, "second?", "no", 60, False),  # a tie: dropped
            utterance(1, "second?", "maybe", 10, False),
            utterance(0, "first?", "good", 90, True),
            utterance(0, "first?", "bad", 20, False),
            utterance(0, "first?", "better, not picked", 95, False),
        ],
    )


PRISM_PAIRS = {
    "user1": [
        Preference("first?", "good", "bad"),
        Preference(
            (Message("user", "first?"), Message("assistant", "good"), Message("user", "second?")),
            "yes",
            "maybe",
        ),
    ]
}


def write_community(path: Path) -> None:
    row = {"conversation_id": "1", "annotator_id": 7, "assigned_lang": "fr", "annotator_country": "France"}
    for turn in ("first", "second", "third", "fourth"):
        for letter in "abcd":
            row[f"{turn}_turn_response_{letter}"] = f"{turn} {letter}" if turn != "third" else ""
        row[f"{turn}_turn_prompt"] = f"{turn}?" if turn in ("first", "second") else ""
        row[f"{turn}_turn_preferred_response"] = "response_b" if turn in ("first", "second") else ""
    write_csv(path / "community_alignment.csv", [row])


SECOND = (Message("user", "first?"), Message("assistant", "first b"), Message("user", "second?"))
COMMUNITY_PAIRS = {
    "7": [Preference("first?", "first b", f"first {c}") for c in "acd"]
    + [Preference(SECOND, "second b", f"second {c}") for c in "acd"]
}


def write_reward_bench(path: Path) -> None:
    row = {
        "id": "q1",
        "question": "Why?",
        "profile": [{"category": "Art", "id": "x", "text": "t"}],
        "category": "Art",
    }
    write_jsonl(
        path / "test.jsonl", [row | {"rubric_aspects": [], "narrative": "n", "chosen": "c", "rejected": "r"}]
    )


def write_fair(path: Path) -> None:
    answers = {1: 1, 2: 0.0}  # of the others 2: N/A, or no readable answer
    row = {"Question": "What is fair?\n A. all equal\nB. by need.\nC. N/A"}
    row |= {f"gpt-4o-mini_role_{role}_answer": answers.get(role, 2) for role in range(1, 8)}
    write_csv(path / "Fair-PP_test.csv", [row])


def write_wiki_personas(path: Path) -> None:
    pair = {"name": "Ada", "prompt": "p1", "yw": "w1", "yl": "l1", "question_type": "personal", "axis": None}
    write_jsonl(path / "train_50p_annotated.jsonl", [pair | {"diverse_ys": ["w1", "l1"]}])
    messages = {
        column: [{"content": "p2", "role": "user"}, {"content": answer, "role": "assistant"}]
        for column, answer in (("chosen", "w2"), ("rejected", "l2"))
    }
    write_jsonl(path / "test_common_prefs.jsonl", [{"name": "Ada", "prompt": "p2", **messages}])
    inferred = {"persona_xy_4s_gpt4": "Likes sums.", "persona_gold_gpt4": "Ada likes sums."}
    nobody = {"name": "Bo", "persona_xy_4s_gpt4": None, "persona_gold_gpt4": None}
    write_jsonl(path / "personas.jsonl", [nobody, {"name": "Ada", "axis": ["age: old"], **inferred}])
    write_csv(path / "demographics.csv", [{"name": "Ada", "birth year": 1815}])


def write_personal_llm(path: Path) -> None:
    rows = []
    for p in range(3):
        row: dict[str, Any] = {"prompt_id": p, "prompt": f"prompt {p}"}
        for i in range(1, 9):
            row[f"response_{i}"] = f"response {p} {i}"
            row |= {
                f"response_{i}_{model}": float(i * (1 if j % 2 else -1))
                for j, model in enumerate(REWARD_MODELS)
            }
        rows.append(row)
    write_jsonl(path / "train.jsonl", rows)


def write_types(path: Path) -> None:
    rows = [
        {
            "Index": i,
            "prompt": f"p{i}",
            "chosen": "c",
            "rejected": "r",
            "data_subset": kind,
            "controversial": True,
        }
        for kind in ("2", "8")
        for i in range(33)
    ]
    write_jsonl(path / "train.jsonl", rows)


def write_tldr(path: Path) -> None:
    info = {"id": "t3", "post": "A post.", "title": "Title", "subreddit": "s", "article": None}
    summaries = [
        {"text": "one", "policy": "sup", "note": None},
        {"text": "two", "policy": "ref", "note": None},
    ]
    write_jsonl(
        path / "comparisons.jsonl", [{"info": info, "summaries": summaries, "choice": 1, "worker": "w1"}]
    )


def write_dices(path: Path) -> None:
    answers = [("Yes", "a"), ("Unsure", "b"), ("No", "c"), ("No", "d"), ("Yes", "e")]
    rows = [
        {
            "rater_id": 5,
            "rater_locale": "US",
            "item_id": i,
            "context": f"context {t}",
            "response": t,
            "Q_overall": q,
        }
        for i, (q, t) in enumerate(answers)
    ]
    write_csv(path / "diverse_safety_adversarial_dialog_990.csv", rows)


DICES_PAIRS = {
    "5": [
        Preference("Which of these conversations is safer?", "context c\n\nc", "context a\n\na"),
        Preference("Which of these conversations is safer?", "context d\n\nd", "context e\n\ne"),
    ]
}


def write_global(path: Path) -> None:
    shares = "defaultdict(<class 'list'>, {'France': [0.5, 0.2, 0.3], 'India': [0.4, 0.4, 0.2]})"
    row = {"question": "Trust?", "selections": shares, "options": "['Yes', 'No', 'DK']", "source": "GAS"}
    write_csv(path / "global_opinions.csv", [row])


GLOBAL_PAIRS = {
    "France": [Preference("Trust?", "Yes", "No"), Preference("Trust?", "Yes", "DK")],
    "India": [Preference("Trust?", "Yes", "DK")],
}


def write_opinion(path: Path) -> None:
    write_csv(
        path / "info.csv",
        [{"key": "Q1", "question": "Safe?", "references": "['Very', 'Somewhat', 'Not', 'Refused']"}],
    )
    write_csv(
        path / "responses.csv",
        [
            {"QKEY": 100197.0, "Q1": "Somewhat", "POLPARTY": "Democrat"},
            {"QKEY": 100260.0, "Q1": "Refused", "POLPARTY": "Republican"},
        ],
    )


def write_polis(path: Path) -> None:
    write_csv(
        path / "comments.csv",
        [{"comment-id": i, "author-id": 0, "comment-body": f"statement {i}"} for i in range(4)],
    )
    votes = [(0, -1), (1, 0), (2, 1), (3, 1)]
    write_csv(
        path / "votes.csv",
        [{"timestamp": i, "comment-id": c, "voter-id": 9, "vote": v} for i, (c, v) in enumerate(votes)],
    )


CASES: dict[str, tuple[Callable[[Path], None], dict[str, list[Preference]] | None]] = {
    "fspo_reviews": (write_steered, STEERED_PAIRS),
    "fspo_elix": (write_steered, STEERED_PAIRS),
    "fspo_roleplay": (write_roleplay, {"id1": [Preference("q", "w", "l")]}),
    "prism": (write_prism, PRISM_PAIRS),
    "prism_ratings": (
        write_prism,
        {
            "user1": [
                Preference("first?", "good", "bad"),
                Preference("first?", "better, not picked", "bad"),
            ]
        },
    ),
    "community_alignment": (write_community, COMMUNITY_PAIRS),
    "personal_reward_bench": (write_reward_bench, {"q1": [Preference("Why?", "c", "r")]}),
    "fair_pp": (
        write_fair,
        {
            "role_1": [Preference("What is fair?", "by need.", "all equal")],
            "role_2": [Preference("What is fair?", "all equal", "by need.")],
        },
    ),
    "wiki_personas": (
        write_wiki_personas,
        {"Ada": [Preference("p2", "w2", "l2"), Preference("p1", "w1", "l1")]},
    ),
    "personal_llm": (write_personal_llm, None),
    "uf_p_2": (write_types, None),
    "uf_p_4": (write_types, None),
    "pets": (write_types, None),
    "tldr": (write_tldr, {"w1": [Preference("Summarise this post.\n\nTitle\n\nA post.", "two", "one")]}),
    "dices": (write_dices, DICES_PAIRS),
    "opinion_qa": (
        write_opinion,
        {"100197": [Preference("Safe?", "Somewhat", o) for o in ("Very", "Not")]},
    ),
    "global_opinion_qa": (write_global, GLOBAL_PAIRS),
    "polis": (
        write_polis,
        {"9": [Preference("Which statement do you agree with?", "statement 2", "statement 0")]},
    ),
}


def test_every_data_set_has_a_case_and_a_card() -> None:
    assert set(CASES) == set(DATASETS)
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        for word in ("licence", "cite", "user", "pairs"):
            assert f"  {word}: " in dataset.card()


@pytest.mark.parametrize("name", [name for name, (_, pairs) in CASES.items() if pairs is not None])
def test_data_set_becomes_the_preferences_that_its_rule_says(name: str, tmp_path: Path) -> None:
    write, expected = CASES[name]
    write(tmp_path)
    loaded = load_users(tmp_path, format=name)
    assert not loaded.rejects
    assert {user.user_id: list(user.preferences) for user in loaded.users} == expected


def test_groups_are_languages_regions_and_parties(tmp_path: Path) -> None:
    groups = {"community_alignment": "fr", "prism": "Europe", "opinion_qa": "Democrat", "dices": "US"}
    for name, group in groups.items():
        (tmp_path / name).mkdir()
        CASES[name][0](tmp_path / name)
        assert {user.group for user in load_users(tmp_path / name, format=name).users} == {group}


def test_personal_llm_users_are_consistent_with_one_weighting_and_always_the_same(tmp_path: Path) -> None:
    write_personal_llm(tmp_path)
    users = load_users(tmp_path, format="personal_llm").users
    assert 0.9 * SIMULATED_USERS < len(users) <= SIMULATED_USERS
    # All reward models rise or fall with the number of the response: a user likes high numbers, or low ones.
    for user in users[:50]:
        signs = {int(p.chosen.split()[-1]) > int(p.rejected.split()[-1]) for p in user.preferences}
        assert len(signs) == 1
    assert load_users(tmp_path, format="personal_llm").users == users


def test_rows_of_types_are_dealt_to_users_of_32_pairs(tmp_path: Path) -> None:
    write_types(tmp_path)
    users = load_users(tmp_path, format="pets").users
    assert {user.user_id: len(user.preferences) for user in users} == {
        "2-00000": 32,
        "2-00001": 1,
        "8-00000": 32,
        "8-00001": 1,
    }
    assert {user.group for user in users} == {"2", "8"}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_changed_schema_names_the_column(name: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "survey.jsonl", [{"user_id": "u", "location": {}}])
    write_jsonl(tmp_path / "comments.jsonl", [{"comment-id": "1", "comment-body": "t"}])
    write_jsonl(tmp_path / "info.jsonl", [{"key": "k", "question": "q", "references": "[]"}])
    for file in ("utterances", "votes", "responses"):
        write_jsonl(tmp_path / f"{file}.jsonl", [{"something": "else"}])
    with pytest.raises(DataError, match=r"column '[\w -]+' of the schema of \w+ is missing; found"):
        load_users(tmp_path, format=name)


def test_a_bad_cell_is_set_aside_with_its_line(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [STEERED[0], STEERED[1] | {"label": "which"}])
    loaded = load_users(tmp_path, format="fspo_elix")
    assert [(r.line, r.kind, r.reason) for r in loaded.rejects] == [
        (2, "wrong type", "label must be a finite number, not 'which'")
    ]


@pytest.mark.parametrize(
    "question", ["What is fair?", "Fair?\nA. so\nB. thus", "Fair?\nA. so\nB. so\nC. N/A"]
)
def test_a_question_of_fair_pp_without_its_options_is_set_aside(question: str, tmp_path: Path) -> None:
    answers = {f"gpt-4o-mini_role_{role}_answer": 0 for role in range(1, 8)}
    good = {"Question": "Fair?\nA. so\nB. thus\nC. N/A", **answers}
    write_csv(tmp_path / "Fair-PP_test.csv", [good, good | {"Question": question}])
    loaded = load_users(tmp_path, format="fair_pp")
    assert [(reject.kind, len(loaded.users)) for reject in loaded.rejects] == [("wrong type", 7)]


def test_an_unknown_name_gives_the_known_ones(tmp_path: Path) -> None:
    write_steered(tmp_path)
    with pytest.raises(DataError, match=r"'prisma'.*Did you mean.*prism"):
        load_users(tmp_path, format="prisma")
