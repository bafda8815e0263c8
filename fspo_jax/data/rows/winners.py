"""Rows with several responses and a column that names the winner."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fspo_jax.arguments import shown
from fspo_jax.data.rows.fields import TIE, BadRow, Fields, present
from fspo_jax.data.rows.pairs import divided
from fspo_jax.data.rows.shape import Columns, FileRows, Label, Labels, Roles, Shape, each_row, user_fields
from fspo_jax.errors import DataError

WINNER = ("winner", "preferred", "preference", "choice", "better", "better_response_id")
"""Names of the column with the winner."""

TIES = (
    "tie",
    "tie (bothbad)",
    "both",
    "bothbad",
    "both bad",
    "both_bad",
    "neither",
    "none",
    "draw",
    "equal",
    "same",
)
"""Values that mean that no response won."""


def _find(columns: Columns) -> Roles | None:
    winner, responses = columns.of("winner", WINNER), columns.responses()
    if not winner or not responses:
        return None
    if prompt := columns.prompt():
        return {"prompt": prompt, "winner": winner} | responses
    first = next(iter(responses.values()))
    chats = any(isinstance(row.get(first), list) for row in columns.rows)
    return {"winner": winner} | responses if chats else None


def _name(columns: Columns, roles: Roles) -> str:
    return f"winner columns ({', '.join(roles.values())})"


def _convert(rows: FileRows, roles: Roles) -> Labels:
    responses = {
        role.removeprefix("response_"): column for role, column in roles.items() if role[:9] == "response_"
    }
    meaning = {suffix: suffix for suffix in responses}
    for form in ("{column}", "response_{suffix}", "model_{suffix}"):
        meaning |= {form.format(suffix=s, column=column.lower()): s for s, column in responses.items()}

    def convert(line: int, fields: Fields) -> Iterable[Label]:
        user = user_fields(fields, roles)
        winner = _winner(present(fields, roles["winner"]), meaning, roles["winner"])
        others = [column for suffix, column in responses.items() if suffix != winner]
        if len(others) > 1:  # a row may have fewer responses than the file has columns
            others = [column for column in others if fields.get(column) not in (None, "")]
        if not others:
            raise BadRow("missing field", f"only the winner, '{responses[winner]}', has a text")
        for column in others:
            prompt, chosen, rejected = divided(fields, roles, responses[winner], column)
            yield Label(line, prompt=prompt, chosen=chosen, rejected=rejected, **user)

    return each_row(rows, convert)


def _winner(value: Any, meaning: dict[str, str], column: str) -> str:
    """Returns the suffix of the response that won.

    Raises:
        BadRow: It is a tie, or the value is unknown.
        DataError: It is a number that is not a suffix. Then 1 may not mean the first response either.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise BadRow("wrong type", f"{column} must be a text or a number, not {shown(value)}")
    word = str(value).strip().lower().removesuffix(".0")
    if word in meaning:
        return meaning[word]
    if word in TIES:
        raise BadRow(TIE, f"{column} is {shown(value)}: neither response was preferred")
    if not word:
        raise BadRow("missing field", f"'{column}' is missing")
    if word.lstrip("-").isdigit() and any(suffix.isdigit() for suffix in meaning.values()):
        raise DataError(
            f"the column '{column}' has the value {shown(value)}, so what its numbers mean is not clear. Replace them "
            f"by {', '.join(map(repr, dict.fromkeys(meaning.values())))} (the responses) and 'tie'."
        )
    raise BadRow(
        "wrong type", f"{column} must be one of {', '.join(map(repr, meaning))} or 'tie', not {shown(value)}"
    )


WINNERS = Shape(
    "winner",
    "prompt, response_a, response_b, winner",
    ("prompt", "winner", "response_*"),
    _find,
    _name,
    _convert,
)
