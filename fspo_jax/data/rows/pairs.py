"""Rows with a chosen and a rejected response: those of this package, and those of TRL, with or without a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fspo_jax.data.rows.fields import BadRow, Fields, prompt, response, response_text
from fspo_jax.data.rows.shape import (
    Ambiguous,
    Columns,
    FileRows,
    Label,
    Labels,
    Roles,
    Shape,
    each_row,
    user_fields,
)
from fspo_jax.types import Message, Prompt

_MAY_BE_PROMPT = (
    "input", "context", "history", "conversation", "conversations", "dialogue", "post", "document", "article", "topic",
    "title", "problem", "source_text",
)  # fmt: skip
"""Columns that may contain the prompt, but often contain something else. Users must name them."""

_OPENAI = {"prompt": ("input",), "chosen": ("preferred_output",), "rejected": ("non_preferred_output",)}
"""Columns of OpenAI's preference fine-tuning, where `input` is `{"messages": [...]}`."""

_LAST_TURN = "\n\nAssistant:"
"""End of the prompt in a chat that is one text ("Human: ... Assistant: ...")."""

_LEAST_SHARE = 0.9
"""If responses begin with the same text in this share of the rows, that text is taken as the prompt."""


def _find(columns: Columns) -> Roles | None:
    roles = {role: columns.of(role, usual) for role, usual in _OPENAI.items() if role != "prompt"}
    if not all(roles.values()):
        return None
    if column := columns.prompt():
        return {"prompt": column} | roles
    if {"prompt": "input"} | roles == {role: usual[0] for role, usual in _OPENAI.items()}:
        return {"prompt": "input"} | roles
    if _have_common_chats(columns, roles):
        return roles
    if found := [name for name in _MAY_BE_PROMPT if name in columns.names]:
        raise Ambiguous(
            f"there is no column 'prompt', but '{found[0]}' may be it. If so, say --columns prompt={found[0]}; "
            f"if chosen and rejected begin with their prompt, leave '{found[0]}' out"
        )
    return roles if _have_common_beginning(columns, roles) else None


def _have_common_chats(columns: Columns, roles: Roles) -> bool:
    """Whether chosen and rejected are chats that begin with their prompt, so that no other column can be the prompt."""
    chats = all(isinstance(row.get(column), list) for row in columns.rows for column in roles.values())
    return chats and _have_common_beginning(columns, roles)


def _have_common_beginning(columns: Columns, roles: Roles) -> bool:
    """Whether chosen and rejected have a common beginning in enough rows, which is then their prompt."""
    shared = []
    for row in columns.rows:
        if row.get(roles["chosen"]) and row.get(roles["rejected"]):
            try:
                divided(row, roles, roles["chosen"], roles["rejected"])
            except BadRow as bad:
                shared.append(bad.kind not in ("missing field", "malformed row"))
            else:
                shared.append(True)
    return bool(shared) and sum(shared) >= _LEAST_SHARE * len(shared)


def _name(columns: Columns, roles: Roles) -> str:
    read = ", ".join(roles[role] for role in ("prompt", "chosen", "rejected") if role in roles)
    if "prompt" not in roles:
        return f"TRL preference rows with implicit prompt ({read})"
    chats = any(isinstance(row.get(roles["chosen"]), list) for row in columns.rows)
    return f"TRL preference rows with chats ({read})" if chats else f"preference rows ({read})"


def _convert(rows: FileRows, roles: Roles) -> Labels:
    def convert(line: int, fields: Fields) -> Iterable[Label]:
        user = user_fields(fields, roles)
        prompt, chosen, rejected = divided(fields, roles, roles["chosen"], roles["rejected"])
        yield Label(line, prompt=prompt, chosen=chosen, rejected=rejected, **user)

    return each_row(rows, convert)


def divided(fields: Fields, roles: Roles, first: str, second: str) -> tuple[Prompt, str, str]:
    """Returns the prompt of a row and the texts of two of its responses.

    In a row without a prompt, the prompt is the common beginning of the responses: for chats, the common messages; for
    texts, everything up to the last turn of the assistant, or up to the last white space, so that no word is cut.

    Raises:
        BadRow: The prompt or a response is missing.
    """
    asked = _prompt(fields, roles)
    a, b = response(fields, first), response(fields, second)
    if isinstance(a, tuple) and isinstance(b, tuple) and (asked is None or min(len(a), len(b)) > 1):
        begun, chosen, rejected = _divided_chats(a, b, first, second)
        if asked is not None and not _agrees(asked, begun):
            raise BadRow("malformed row", f"{first} and {second} do not begin with the prompt")
        return asked if asked is not None and len(begun) == 1 else begun, chosen, rejected
    if asked is not None:
        return asked, response_text(a, first), response_text(b, second)
    if isinstance(a, tuple) or isinstance(b, tuple):
        raise BadRow("malformed row", f"one of {first} and {second} is a chat, the other is a text")
    return _divided_texts(a, b, first, second)


def _prompt(fields: Fields, roles: Roles) -> Prompt | None:
    """Returns the prompt of a row, or None if the file has no prompts."""
    column = roles.get("prompt")
    if column not in ("prompt", "messages"):
        return prompt(fields, column) if column else None
    given = {name: fields.get(name) for name in ("prompt", "messages")}
    if given["prompt"] in (None, "") and given["messages"] not in (None, ""):
        return prompt(fields, "messages")
    if given["prompt"] is None:
        raise BadRow("missing field", "'prompt' (or 'messages') is missing")
    if given["messages"] not in (None, "", [], fields.get(roles.get("chosen", ""))):
        raise BadRow("malformed row", "both 'prompt' and 'messages' are given; use one of them")
    return prompt(fields, "prompt")


def _divided_chats(
    a: tuple[Message, ...], b: tuple[Message, ...], first: str, second: str
) -> tuple[tuple[Message, ...], str, str]:
    common = _length_in_common(a, b)
    if a == b:
        raise BadRow(
            "chosen equals rejected",
            f"{first} and {second} are equal, so the row says nothing about the user",
        )
    if not any(message.content.strip() for message in a[:common]):
        raise BadRow(
            "missing field",
            f"there is no prompt, and the chats {first} and {second} have no common beginning",
        )
    return a[:common], response_text(a[common:], first), response_text(b[common:], second)


def _length_in_common(a: Sequence[object], b: Sequence[object]) -> int:
    """Returns the length of the common beginning of two sequences."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _agrees(asked: Prompt, begun: tuple[Message, ...]) -> bool:
    if not isinstance(asked, str):
        return asked == begun
    return asked.strip() in (message.content.strip() for message in begun)


def _divided_texts(a: str, b: str, first: str, second: str) -> tuple[str, str, str]:
    if a.strip() == b.strip():
        raise BadRow(
            "chosen equals rejected",
            f"{first} and {second} are equal, so the row says nothing about the user",
        )
    common = a[: _length_in_common(a, b)]
    turn = common.rfind(_LAST_TURN)
    end = (
        turn + len(_LAST_TURN)
        if turn >= 0
        else max((i + 1 for i, c in enumerate(common) if c.isspace()), default=0)
    )
    if not common[:end].strip():
        raise BadRow(
            "missing field",
            f"there is no prompt, and the texts {first} and {second} have no common beginning",
        )
    for text, name in ((a, first), (b, second)):
        if not text[end:].strip():
            raise BadRow(
                "empty field",
                f"{name} has nothing after the prompt, the common beginning of both responses",
            )
    return a[:end], a[end:], b[end:]


PAIRS = Shape("rows", "prompt, chosen, rejected", ("prompt", "chosen", "rejected"), _find, _name, _convert)
