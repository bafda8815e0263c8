"""One row of columns to the parts of a preference, or the reason why it is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fspo_jax.errors import DataError, LimitError
from fspo_jax.types import Prompt, check_prompt, check_text

COLUMNS = ("user_id", "prompt", "messages", "chosen", "rejected", "group", "description")
"""Columns that are read; `prompt` and `messages` are two names for one thing, the last two are optional."""


class BadRow(Exception):
    """A row is no preference. Never leaves the loader: it becomes a reject or a `DataError`.

    Args:
        kind: One of `rejects.REASONS`.
        reason: What is wrong, in words, without a full stop.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class ParsedRow(NamedTuple):
    """The checked parts of a row; `group` and `description` are `""` where there is none."""

    user_id: str
    prompt: Prompt
    chosen: str
    rejected: str
    group: str
    description: str


def parse_row(fields: Mapping[str, Any]) -> ParsedRow:
    """Checks the columns of one row; see `sources.load_users` for the format. Raises `BadRow`."""
    user_id = _text(_present(fields, "user_id"), "user_id")
    prompt = _prompt(fields)
    chosen = _response(_present(fields, "chosen"), "chosen")
    rejected = _response(_present(fields, "rejected"), "rejected")
    if chosen == rejected or chosen.strip() == rejected.strip():
        raise BadRow("chosen equals rejected", "the two responses are equal: they say nothing about the user")
    return ParsedRow(
        user_id, prompt, chosen, rejected, _optional(fields, "group"), _optional(fields, "description")
    )


def _present(fields: Mapping[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is None:
        raise BadRow("missing field", f"'{name}' is missing")
    return value


def _optional(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str):
        raise BadRow("wrong type", f"{name} must be a string, not {type(value).__name__}")
    return _checked(value, name, check_text)


def _text(value: Any, name: str) -> str:
    """Returns `value` if it is a text with something in it."""
    if not isinstance(value, str):
        raise BadRow("wrong type", f"{name} must be a string, not {type(value).__name__}")
    _checked(value, name, check_text)
    if not value or value.isspace():
        raise BadRow("empty field", f"{name} is empty")
    return value


def _checked(value: Any, name: str, check: Callable[[Any, str], Any]) -> Any:
    """Applies a check of `fspo_jax.types` and gives its error a kind."""
    try:
        return check(value, name)
    except LimitError as error:
        raise BadRow("over-long text", str(error).rstrip(".")) from None
    except DataError as error:
        surrogate = isinstance(error.__context__, UnicodeEncodeError)
        raise BadRow("lone surrogate" if surrogate else "wrong type", str(error).rstrip(".")) from None


def _prompt(fields: Mapping[str, Any]) -> Prompt:
    prompt, messages = fields.get("prompt"), fields.get("messages")
    if isinstance(messages, str) and messages[:1] == "[":  # a csv cell
        try:
            messages = json.loads(messages)
        except (ValueError, RecursionError) as error:
            raise BadRow("broken JSON", f"messages is not JSON: {error}") from None
    if prompt in (None, "") and messages not in (None, ""):
        if isinstance(messages, str):
            raise BadRow("wrong type", "messages must be a list of messages; a plain string is a 'prompt'")
        name, value = "messages", messages
    elif prompt is None:
        raise BadRow("missing field", "'prompt' (or 'messages') is missing")
    elif messages not in (None, "", []):
        raise BadRow("malformed row", "both 'prompt' and 'messages' are given; one of them is allowed")
    else:
        name, value = "prompt", prompt
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, list) and not value:
        raise BadRow("empty field", f"{name} has no message")
    conversation = _checked(value, name, check_prompt)
    if all(not message.content.strip() for message in conversation):
        raise BadRow("empty field", f"{name} has no text in any message")
    return conversation


def _response(value: Any, name: str) -> str:
    """Text of a response: a string, or a list of one assistant message (TRL)."""
    if not isinstance(value, list):
        return _text(value, name)
    conversation = _checked(value, name, check_prompt) if value else ()
    if len(conversation) != 1:
        raise BadRow(
            "wrong type",
            f"{name} has {len(conversation)} messages; it must be a string or one assistant message. Earlier "
            "turns belong to 'prompt'",
        )
    if conversation[0].role != "assistant":
        raise BadRow("wrong type", f"{name} is a message of {conversation[0].role!r:.40}, not 'assistant'")
    return _text(conversation[0].content, name)
