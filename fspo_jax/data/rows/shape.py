"""The contract of a shape of rows: how its columns are found, and the rule that turns its rows into labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fspo_jax.data.readers import RawRow
from fspo_jax.data.rows.fields import BadRow, Fields, identity, optional_text, prompt, text
from fspo_jax.errors import DataError

PROMPT = ("prompt", "messages", "question", "instruction", "query")
"""Names of the column with the prompt. The first two have priority."""

RESPONSE = ("answer", "response", "completion", "output", "candidate", "reply", "text", "conversation")
"""Names of columns with responses to one prompt, followed by `_a`, `_b`, ..., `_1`, `_2`, ..., `A` or `1`."""

USER = ("user_id", "group", "description")
"""Columns about the user. Every shape has them, and only `user_id` is required."""

_RESPONSE_COLUMN = re.compile(rf"({'|'.join(RESPONSE)})(?:_([a-zA-Z]|\d{{1,2}})|([A-Z]|\d{{1,2}}))")


class Label(NamedTuple):
    """One preference, as read from a row.

    Attributes:
        line: Line of the row.
        user_id: Id of the user; `""` if the rows belong to one person without an id.
        prompt: A string, or messages.
        group: Language or group of the user, or `""`.
        description: What the user is like, in words, or `""`.
        raw: The unchanged row, see `RawRow`; None if the label comes from several rows.
    """

    line: int
    user_id: str
    prompt: Any
    chosen: str
    rejected: str
    group: str = ""
    description: str = ""
    raw: Any = None


FileRows = Iterator[tuple[str, RawRow]]
"""Rows, each with the name of its file."""

Labels = Iterator[tuple[str, Label | RawRow]]
"""(file, preference), or (file, row with its problem)."""

Roles = dict[str, str]
"""Role to column: `{"prompt": "question", "winner": "winner", ...}`."""


class Ambiguous(Exception):
    """A file can be read in several ways. The message names them and says how to choose."""


class Columns:
    """The columns of a file, and the roles that the caller gave them.

    Args:
        rows: The first rows of the file.
        given: Role to column, from `--columns`.
    """

    def __init__(self, rows: Sequence[Fields], given: Mapping[str, str]):
        self.rows = rows
        self.names = tuple(dict.fromkeys(name for row in rows for name in row))
        self.given = given

    def of(self, role: str, names: Sequence[str] = ()) -> str:
        """Returns the column of a role, or `""`: the one that the caller named, the one of that name, or from `names`.

        Raises:
            Ambiguous: Several of `names` exist.
        """
        if role in self.given or role in self.names:
            return self.given.get(role, role)
        found = [name for name in names if name in self.names and name not in self.given.values()]
        if len(found) > 1:
            raise Ambiguous(
                f"{len(found)} columns could be the {role}: {', '.join(found)}. "
                f"Say which, e.g. --columns {role}={found[0]}"
            )
        return found[0] if found else ""

    def prompt(self) -> str:
        """Returns the column of the prompt, or `""`."""
        if "prompt" not in self.given and "prompt" not in self.names and "messages" in self.names:
            return "messages"
        return self.of("prompt", PROMPT)

    def responses(self) -> Roles:
        """Returns the columns of responses to one prompt, as `{"response_a": "answer_a", "response_b": "answer_b"}`.

        Raises:
            Ambiguous: There are several sets of such columns.
        """
        given = {role: column for role, column in self.given.items() if role.startswith("response_")}
        if given:
            return given if len(given) > 1 else {}
        found: dict[str, Roles] = {}
        for name in self.names:
            if match := _RESPONSE_COLUMN.fullmatch(name):
                found.setdefault(match[1], {})[f"response_{(match[2] or match[3]).lower()}"] = name
        found = {stem: roles for stem, roles in found.items() if len(roles) > 1}
        if len(found) > 1:
            sets = [", ".join(roles.values()) for roles in found.values()]
            first = ",".join(f"{role}={name}" for role, name in next(iter(found.values())).items())
            raise Ambiguous(
                f"{len(sets)} sets of columns could be the responses: {'; '.join(sets)}. "
                f"Say which, e.g. --columns {first}"
            )
        return next(iter(found.values()), {})


@dataclass(frozen=True)
class Shape:
    """A known shape of rows.

    Attributes:
        key: Its name in `format`.
        example: The columns that it needs, for messages.
        roles: The roles of its columns, in addition to `USER`. `response_*` means `response_a`, `response_b` and so on.
        find: Returns the roles of a file's columns, or None for a file of another shape. May raise `Ambiguous`.
        name: Returns its name in messages, given the columns of a file and their roles.
        convert: The rule that turns the rows of all files with the same roles into labels.
    """

    key: str
    example: str
    roles: tuple[str, ...]
    find: Callable[[Columns], Roles | None]
    name: Callable[[Columns, Roles], str]
    convert: Callable[[FileRows, Roles], Labels]


def each_row(rows: FileRows, convert: Callable[[int, Fields], Iterable[Label]]) -> Labels:
    """Converts row by row. A bad row is returned with its problem."""
    for file, row in rows:
        try:
            for label in convert(row.line, fields_of(row)):
                yield file, label._replace(raw=row.raw)
        except BadRow as bad:
            yield file, row._replace(problem=(bad.kind, str(bad)))
        except DataError as error:
            raise DataError(f"{file}:{row.line}: {error}") from None


def fields_of(row: RawRow) -> Fields:
    """Returns the columns of a row; raises `BadRow` if it cannot be read."""
    if row.problem is not None or row.fields is None:
        raise BadRow(*(row.problem or ("malformed row", "the row has no columns")))
    return row.fields


def checked(label: Label) -> Label:
    """Returns the label; raises `BadRow` if its texts cannot be part of a `Preference`."""
    fields = label._asdict()
    return label._replace(
        user_id=identity(fields, "user_id"),
        prompt=prompt(fields, "prompt"),
        chosen=text(fields, "chosen"),
        rejected=text(fields, "rejected"),
        group=optional_text(fields, "group"),
        description=optional_text(fields, "description"),
    )


def user_fields(fields: Fields, roles: Roles) -> dict[str, Any]:
    """Returns the fields of a `Label` that describe the user; raises `BadRow`."""
    user_id = identity(fields, roles["user_id"]) if "user_id" in roles else ""
    return {"user_id": user_id} | {role: optional_text(fields, roles.get(role, role)) for role in USER[1:]}
