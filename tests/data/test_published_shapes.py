"""Rows as widely used data sets publish them: read as they mean, or refused with what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from shape_cases import assistant, user

import fspo_jax as fspo
from fspo_jax.data.datasets.catalogue import DATASETS
from fspo_jax.data.rows.recognise import PUBLISHED
from fspo_jax.errors import DataError
from fspo_jax.types import Message, Preference

GOOD, BAD = [user("Q"), assistant("good")], [user("Q"), assistant("bad")]
CHAT = (Message("user", "Q"),)


def parts(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "image": None, "mimeType": None}]


ARENA = {
    "question_id": "1", "model_a": "m", "model_b": "n", "winner": "model_a", "judge": "arena_user_1",
    "conversation_a": GOOD, "conversation_b": BAD, "turn": 1, "anony": True, "language": "English",
}  # fmt: skip
TOOLS = [
    {"role": "system", "content": "S", "name": None},
    {"role": "user", "content": "Q", "tool_calls": None, "id": 3},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
    },
    {"role": "tool", "tool_call_id": "1", "name": "f", "content": "4"},
]
READ: dict[str, tuple[list[dict[str, Any]], Any, str, str]] = {
    "HuggingFaceH4/ultrafeedback_binarized": (
        [{"prompt": "Q", "prompt_id": "x", "chosen": GOOD, "rejected": BAD, "messages": GOOD, "score_chosen": 8.5}],
        "Q", "", "TRL preference rows with chats (prompt, chosen, rejected)",
    ),
    "trl-lib/ultrafeedback_binarized": (
        [{"chosen": GOOD, "rejected": BAD, "score_chosen": 8.5, "score_rejected": 2.0}],
        CHAT, "", "TRL preference rows with implicit prompt (chosen, rejected)",
    ),
    "argilla/ultrafeedback-binarized-preferences": (
        [{"instruction": "Q", "chosen": GOOD, "rejected": BAD, "chosen-rating": 5, "chosen-model": "m"}],
        "Q", "", "TRL preference rows with chats (instruction, chosen, rejected)",
    ),
    "openbmb/UltraFeedback": (
        [{
            "instruction": "Q", "models": ["m", "n"],
            "completions": [
                {"model": "m", "response": "good", "overall_score": 8.5, "critique": "c"},
                {"model": "n", "response": "bad", "overall_score": 2, "critique": "d"},
                {"model": "o", "response": "none", "overall_score": None, "critique": "e"},
            ],
        }],
        "Q", "", "ratings (instruction, completions), on each rater's own scale",
    ),
    "Anthropic/hh-rlhf": (
        [{"chosen": f"\n\nHuman: Q\n\nAssistant: x\n\nHuman: R\n\nAssistant: {a}",
          "rejected": f"\n\nHuman: Q\n\nAssistant: x\n\nHuman: R\n\nAssistant: {b}"} for a, b in (("good", "bad"),)],
        "\n\nHuman: Q\n\nAssistant: x\n\nHuman: R\n\nAssistant:", " ",
        "TRL preference rows with implicit prompt (chosen, rejected)",
    ),
    "trl-lib/hh-rlhf-helpful-base": (
        [{"prompt": [user("Q")], "chosen": [assistant("good")], "rejected": [assistant("bad")]}],
        CHAT, "", "TRL preference rows with chats (prompt, chosen, rejected)",
    ),
    "lmsys/chatbot_arena_conversations": (
        [ARENA, {**ARENA, "winner": "tie (bothbad)"}],
        CHAT, "", "winner columns (winner, conversation_a, conversation_b)",
    ),
    "lmarena-ai/arena-human-preference-140k": (
        [{
            "winner": "model_b", "evaluation_order": 1, "full_conversation": [], "language": "en",
            "conversation_a": [{"role": "user", "content": parts("Q")}, {"role": "assistant", "content": parts("bad")}],
            "conversation_b": [user("Q"), {"role": "assistant", "content": parts("good")}],
        }],
        CHAT, "", "winner columns (winner, conversation_a, conversation_b)",
    ),
    "PKU-Alignment/PKU-SafeRLHF": (
        [{"prompt": "Q", "response_0": "bad", "response_1": "good", "better_response_id": 1, "safer_response_id": 0}],
        "Q", "", "winner columns (prompt, better_response_id, response_0, response_1)",
    ),
    "argilla/distilabel-capybara-dpo": (
        [{"conversation": [{"input": "Q", "output": "x"}], "chosen": GOOD, "rejected": BAD, "rating_chosen": 5}],
        CHAT, "", "TRL preference rows with implicit prompt (chosen, rejected)",
    ),
    "Intel/orca_dpo_pairs": (
        [{"system": "Be kind.", "question": "Q", "chosen": "good", "rejected": "bad"}],
        "Q", "", "preference rows (question, chosen, rejected)",
    ),
    "preference fine-tuning of OpenAI": (
        [{"input": {"messages": [user("Q")], "tools": [], "parallel_tool_calls": True},
          "preferred_output": [assistant("good")], "non_preferred_output": [assistant("bad")]}],
        CHAT, "", "TRL preference rows with chats (input, preferred_output, non_preferred_output)",
    ),
    "a chat with tools": (
        [{"prompt": TOOLS, "chosen": [assistant("good")], "rejected": [assistant("bad")], "tools": None}],
        (Message("system", "S"), *CHAT, Message("assistant", '{"name": "f", "arguments": {"x": 1}}'),
         Message("tool", "4")),
        "", "TRL preference rows with chats (prompt, chosen, rejected), calls of tools as lines of JSON",
    ),
    "trl-lib/kto-mix-14k": (
        [{"prompt": [user("Q")], "completion": [assistant(text)], "label": text == "good"} for text in ("good", "bad")],
        CHAT, "", "KTO labelled responses (prompt, completion, label), paired within a prompt",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_rows_of_a_published_data_set_are_read_as_they_mean(name: str) -> None:
    made, prompt, start, how = READ[name]
    columns = "user_id=judge" if "judge" in made[0] else ""
    loaded = fspo.load_users(json.dumps(made).encode(), columns=columns, id_optional=True)
    assert loaded[0].preferences == (Preference(prompt, f"{start}good", f"{start}bad"),)
    assert loaded.shapes == (how,) and not loaded.rejects


REFUSED = {
    "several turns of an arena, which differ before the last": (
        {**ARENA, "conversation_a": [*GOOD, *GOOD], "conversation_b": [*BAD, *BAD]},
        "user_id=judge", "conversation_a has 3 messages; it must be a string or one assistant message",
    ),
    "an arena without the name of the person's column": (ARENA, "", "missing column user_id.*--columns user_id=judge"),
    "nvidia/HelpSteer2": (
        {"prompt": "Q", "response": "x", "helpfulness": 4, "correctness": 4, "verbosity": 1},
        "", "missing column user_id, rating",
    ),
    "nvidia/HelpSteer2, preferences": (
        {"prompt": "Q", "response_1": "x", "response_2": "y", "preference_strength": -2},
        "", "missing column user_id, winner",
    ),
    "HelpSteer2, a strength as winner": (
        {"user_id": 1, "prompt": "Q", "response_1": "x", "response_2": "y", "preference_strength": -2},
        "winner=preference_strength", "has the value -2, so what its numbers mean is not clear",
    ),
    "berkeley-nest/Nectar": (
        {"prompt": "Q", "answers": [{"answer": "x", "rank": 1.0}, {"answer": "y", "rank": 2.0}]},
        "", "missing column user_id, chosen, rejected",
    ),
    "stanfordnlp/SHP": (
        {"history": "Q", "human_ref_A": "x", "human_ref_B": "y", "labels": 1, "score_A": 5, "score_B": 2},
        "", "missing column user_id, prompt, chosen, rejected",
    ),
    "lmsys/lmsys-arena-human-preference-55k": (
        {"prompt": '["Q"]', "response_a": '["x"]', "response_b": '["y"]', "winner_model_a": 1, "winner_tie": 0},
        "", "missing column user_id, winner",
    ),
    "ShareGPT with preferences": (
        {"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "x"},
         "rejected": {"from": "gpt", "value": "y"}},
        "", "'conversations' may be it. If so, say --columns prompt=conversations",
    ),
    "HannahRoseKirk/prism-alignment": (
        {"user_id": "p", "user_prompt": "Q", "model_response": "x", "score": 90, "if_chosen": True},
        "", "These look like the columns of prism: --format prism",
    ),
    "facebook/community-alignment-dataset": (
        {"annotator_id": "a", "first_turn_prompt": "Q", "first_turn_preferred_response": "response_a"},
        "", "--format community_alignment",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_rows_whose_meaning_is_not_clear_are_refused_with_what_to_do(name: str) -> None:
    made, columns, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        fspo.load_users(json.dumps(made).encode(), columns=columns, strict=True)


def test_formats_that_are_suggested_exist() -> None:
    assert set(PUBLISHED.values()) <= DATASETS.keys()
