import pytest

from fspo_jax.arguments import MAX_TEXT_CHARACTERS
from fspo_jax.errors import DataError, LimitError
from fspo_jax.text.prompts import render_prompt
from fspo_jax.types import Message, Preference


def test_preference_conversation_prompt_becomes_messages():
    pair = Preference([{"role": "user", "content": "Hi"}], "a", "b")
    assert pair.prompt == (Message("user", "Hi"),)
    assert pair == Preference((Message("user", "Hi"),), "a", "b") and hash(pair)
    assert render_prompt(pair.prompt) == "user: Hi" and render_prompt("Hi") == "Hi"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (("p", "same", "same"), DataError, "chosen equals rejected"),
        (("", "a", "b"), DataError, "prompt is empty"),
        (("p", "  ", "b"), DataError, "chosen is empty"),
        (("p", "a", ""), DataError, "rejected is empty"),
        (("p", None, "b"), DataError, "chosen must be a string, not NoneType"),
        ((3, "a", "b"), DataError, "prompt must be a string or a non-empty list"),
        (([{"role": "user", "content": 3}], "a", "b"), DataError, r"prompt\[0\].content must be a string"),
        ((["Hi"], "a", "b"), DataError, r"prompt\[0\] must be a"),
        (("p", "\udc00", "b"), DataError, "lone surrogate at character 0"),
        (("p", "a", "b" * (MAX_TEXT_CHARACTERS + 1)), LimitError, "rejected has 50,001 characters"),
    ],
)
def test_preference_bad_field_raises(fields, error, message):
    with pytest.raises(error, match=message):
        Preference(*fields)
