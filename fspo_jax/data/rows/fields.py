"""Reads the fields of a row: texts, ids, numbers and conversations. A wrong value raises `BadRow`."""

from __future__ import annotations

import contextlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from fspo_jax.arguments import check_text, shown
from fspo_jax.errors import DataError, LimitError, counted
from fspo_jax.types import Message, Prompt, check_prompt

Fields = Mapping[str, Any]
"""Column to value."""

_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}
"""Role names in messages with the keys `from` and `value`."""

_WHOLE = re.compile(r"-?[0-9]+\.0")
"""A whole number that was written as a fraction."""

_CALLS = ("tool_calls", "function_call")
"""Keys of a message with calls of tools."""

_OTHER_CONTENT = ("audio", "images")
"""Keys of a message with content that is not text."""


class BadRow(Exception):
    """A row is not a preference. The loader turns this into a reject or a `DataError`.

    Args:
        kind: One of `rejects.REASONS`, or `TIE`.
        reason: What is wrong, in words, without a full stop.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


TIE = "tie"
"""Kind of a row in which no response was preferred. Such rows are counted and are not bad."""


def present(fields: Fields, column: str) -> Any:
    """Returns the value of a column; raises `BadRow` if it is missing or null."""
    value = fields.get(column)
    if value is None:
        raise BadRow("missing field", f"'{column}' is missing")
    return value


def text(fields: Fields, column: str) -> str:
    """Returns the text of a column; raises `BadRow` if it is not a text or blank."""
    return checked_text(present(fields, column), column)


def checked_text(value: Any, name: str) -> str:
    """Returns `value`; raises `BadRow` if it is not a text or blank."""
    if not isinstance(value, str):
        raise BadRow("wrong type", f"{name} must be a string, not {type(value).__name__}")
    _checked(value, name, check_text)
    if not value or value.isspace():
        raise BadRow("empty field", f"{name} is empty")
    return value


def optional_text(fields: Fields, column: str) -> str:
    """Returns the text of a column, or `""` if it is missing, null or empty; raises `BadRow` for other values."""
    value = fields.get(column)
    if not value:
        return ""
    if not isinstance(value, str):
        raise BadRow("wrong type", f"{column} must be a string, not {type(value).__name__}")
    return _checked(value, column, check_text)


def identity(fields: Fields, column: str) -> str:
    """Returns an id as text; raises `BadRow` for other values.

    7, 7.0, "7" and "7.0" (which pandas writes) are one id. So are texts that look the same: white space at the ends
    does not count, nor does how an accent is encoded.
    """
    value = present(fields, column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRow("wrong type", f"{column} must be a string or a whole number, not {type(value).__name__}")
    found = unicodedata.normalize("NFC", checked_text(str(value), column).strip())
    return found.removesuffix(".0") if _WHOLE.fullmatch(found) else found


def number(fields: Fields, column: str) -> float:
    """Returns a finite number, or that in a text; raises `BadRow` for other values."""
    value = present(fields, column)
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise BadRow("wrong type", f"{column} must be a finite number, not {shown(value)}")
    return found


def flag(fields: Fields, column: str) -> bool:
    """Returns true or false, from a truth value, 1 or 0, or a text; raises `BadRow` for other values."""
    value = present(fields, column)
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    if isinstance(value, str | int | float) and (word := str(value).strip().lower()) in known:
        return known[word]
    raise BadRow("wrong type", f"{column} must be true or false, not {shown(value)}")


def prompt(fields: Fields, column: str) -> Prompt:
    """Returns a prompt: a text, or a conversation if the value is a list or has one as `messages`.

    The column `messages` must be a list.
    """
    value = present(fields, column)
    if isinstance(value, Mapping) and "messages" in value:
        value = value["messages"]
    if column == "messages" and isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, str):
        return checked_text(value, column)
    if isinstance(value, list | tuple) and not value:
        raise BadRow("empty field", f"{column} has no message")
    conversation = messages(value, column)
    if all(not message.content.strip() for message in conversation):
        raise BadRow("empty field", f"{column} has no text in any message")
    return conversation


def response(fields: Fields, column: str) -> str | tuple[Message, ...]:
    """Returns the value of a column of responses: a text, or messages of which the last is the response."""
    value = present(fields, column)
    if isinstance(value, Mapping) and _is_message(value):
        value = [value]
    return messages(value, column) if isinstance(value, list | tuple) else checked_text(value, column)


def response_text(value: str | tuple[Message, ...], column: str) -> str:
    """Returns the text of a response. A list must have one message, of the assistant (TRL); else raises `BadRow`."""
    if isinstance(value, str):
        return value
    if len(value) != 1:
        raise BadRow(
            "wrong type",
            f"{column} has {counted(len(value), 'message')}; it must be a string or one assistant message. Earlier "
            "turns belong to the prompt",
        )
    if value[0].role != "assistant":
        raise BadRow("wrong type", f"{column} is a message of {value[0].role!r:.40}, not 'assistant'")
    return checked_text(value[0].content, column)


def messages(value: Any, name: str) -> tuple[Message, ...]:
    """Returns the messages of a list.

    `from` and `value` are read as `role` and `content`. Other keys, such as a name or a time, are ignored. Parts of
    type text are joined by line breaks. Calls of tools follow the content, each as a line of JSON with its name and
    arguments.

    Raises:
        BadRow: The value is not a list of messages, or a message has content other than text.
    """
    if not isinstance(value, list | tuple):
        return _checked(value, name, check_prompt)
    if not value:
        return ()
    return _checked([_message(item, f"{name}[{i}]") for i, item in enumerate(value)], name, check_prompt)


def _message(value: Any, name: str) -> Any:
    """Returns a message with the keys `role` and `content`; leaves other values for `check_prompt` to refuse."""
    if not isinstance(value, Mapping):
        return value
    found = {key: item for key, item in value.items() if item is not None}
    if not _is_message(found):
        return found
    for key in _OTHER_CONTENT:
        if found.get(key):
            raise BadRow("wrong type", f"{name} has '{key}'; only text can be read")
    if "role" not in found:
        role = found["from"]
        return {"role": _ROLES.get(role, role) if isinstance(role, str) else role, "content": found["value"]}
    content, calls = joined(found.get("content", ""), f"{name}.content"), _calls(found, name)
    if calls and isinstance(content, str):
        content = "\n".join([content, *calls] if content else calls)
    return {"role": found["role"], "content": content}


def has_calls(value: Any) -> bool:
    """Whether a message in a list of messages has calls of tools."""
    items = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, Mapping) and item.get(key) for item in items for key in _CALLS)


def _calls(message: Mapping[str, Any], name: str) -> list[str]:
    """Returns the calls of tools in a message, each as one line of JSON."""
    calls = message.get("tool_calls") or []
    calls = [*calls, message["function_call"]] if message.get("function_call") else calls
    lines = []
    for number, call in enumerate(calls if isinstance(calls, list | tuple) else [calls]):
        function = call.get("function") or call if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise BadRow(
                "wrong type", f"{name}: call {number} has no function with a name, but is {shown(call)}"
            )
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            with contextlib.suppress(ValueError, RecursionError):
                arguments = json.loads(arguments)
        try:
            lines.append(json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise BadRow(
                "wrong type", f"{name}: the arguments of call {number} are not JSON: {error}"
            ) from None
    return lines


def joined(content: Any, name: str) -> Any:
    """Joins content in parts to one text, and returns other content unchanged. Raises `BadRow` for other parts."""
    if not isinstance(content, list | tuple):
        return content
    return "\n".join(_part(part, f"{name}[{i}]") for i, part in enumerate(content))


def _is_message(value: Mapping[str, Any]) -> bool:
    if "role" in value and any(value.get(key) for key in _CALLS):
        return True  # its content may be null
    return {"role", "content"} <= value.keys() or {"from", "value"} <= value.keys()


def _part(part: Any, name: str) -> str:
    """Returns the text of one part of the content."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        if part.get("type", "text") in ("text", "input_text", "output_text"):
            return part["text"]
    kind = part.get("type") if isinstance(part, Mapping) else None
    what = f"of type {kind!r:.40}" if kind else f"{shown(part)}"
    raise BadRow("wrong type", f"{name} is {what}; only parts of type 'text' can be read")


def _parsed(value: str) -> Any:
    """Parses the messages of a csv cell."""
    if value[:1] != "[":
        raise BadRow(
            "wrong type", "messages must be a list of messages; use the column 'prompt' for a string"
        )
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise BadRow("broken JSON", f"messages is not JSON: {error}") from None


def _checked(value: Any, name: str, check: Callable[[Any, str], Any]) -> Any:
    """Applies a check of `fspo_jax.types`, and turns its error into a `BadRow`."""
    try:
        return check(value, name)
    except LimitError as error:
        raise BadRow("over-long text", str(error).rstrip(".")) from None
    except DataError as error:
        surrogate = isinstance(error.__context__, UnicodeEncodeError)
        raise BadRow("lone surrogate" if surrogate else "wrong type", str(error).rstrip(".")) from None
