"""Prompts and messages: which are read, and where a prompt ends that is not in a column of its own."""

from __future__ import annotations

import json

import pytest
from shape_cases import prompt_and_whole_chats, rows, user

import fspo_jax as fspo
from fspo_jax.data.sources import load_pairs
from fspo_jax.errors import DataError
from fspo_jax.types import Preference


def call(name: str, arguments: object) -> dict:
    function = {"name": name, "arguments": arguments}
    return {"role": "user", "tool_calls": [{"id": "1", "type": "function", "function": function}]}


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"role": "user", "content": "x", "name": None, "tool_calls": None}, "x"),
        ({"role": "user", "content": "x", "name": "ana", "created": 3, "tool_calls": []}, "x"),
        ({"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, "x\ny"),
        ({"role": "user", "content": [{"type": "input_text", "text": "x", "annotations": []}, "y"]}, "x\ny"),
        ({"from": "human", "value": "x"}, "x"),
        (call("f", {"x": 1}), '{"name": "f", "arguments": {"x": 1}}'),
        (call("f", '{"x": 1}') | {"content": None}, '{"name": "f", "arguments": {"x": 1}}'),
        (call("f", "1 +") | {"content": "x"}, 'x\n{"name": "f", "arguments": "1 +"}'),
        (
            {"role": "user", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            '{"name": "f", "arguments": {}}',
        ),
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
            "prompt[0]: call 0 has no function with a name, but is {'id': 1}",
        ),
        (
            {"role": "user", "content": "", "audio": {"id": 1}},
            "prompt[0] has 'audio'; only text can be read",
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
