"""Files of rows to labels: the shape of each file is recognised, and rows are counted as they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from typing import NamedTuple

from fspo_jax.data.collecting import Collected
from fspo_jax.data.locations import Opened
from fspo_jax.data.readers import RawRow
from fspo_jax.data.rows.fields import BadRow, Fields, identity
from fspo_jax.data.rows.recognise import (
    AUTO,
    PEOPLE,
    SHAPES,
    Recognised,
    column_hints,
    missing_columns,
    missing_roles,
    recognise,
)
from fspo_jax.data.rows.shape import FileRows, Labels
from fspo_jax.errors import DataError

FIRST_ROWS = 1000
"""Number of readable rows that are used to recognise the shape of a file."""


class RowCounter:
    """Counts rows as they are read, and collects the ids of the people who labelled them."""

    def __init__(
        self,
        collected: Collected,
        one_person: bool = False,
        parsed: bool = False,
        id_optional: bool = False,
    ):
        self.collected, self.one_person, self.parsed = collected, one_person, parsed
        self.id_optional = one_person or id_optional
        self.people: dict[str, set[str]] = {}

    def over(self, rows: FileRows, used: set[str], people: Sequence[str]) -> FileRows:
        """Passes rows of one shape on, and counts them.

        Args:
            rows: Rows with their files.
            used: Columns that are read.
            people: Columns that may contain the person's id.
        """
        collected = self.collected
        for file, row in rows:
            collected.rows = (collected.rows or 0) + 1
            for column in row.fields or ():
                if column not in used:
                    collected.ignored[column] += 1
                if self.one_person and column in people:
                    self._note_person(column, row.fields or {})
            yield file, row

    def _note_person(self, column: str, fields: Fields) -> None:
        with contextlib.suppress(BadRow):  # a row without an id belongs to the same person as the others
            self.people.setdefault(column, set()).add(identity(fields, column))


class _KnownFile(NamedTuple):
    """A file whose shape was recognised."""

    recognised: Recognised
    file: str
    rows: Iterable[RawRow]


def row_labels(opened: Opened, format: str, given: Mapping[str, str], counter: RowCounter) -> Labels:
    """Yields the labels of all files. Files of one shape are converted together."""
    files = (_recognise_file(file, rows, format, given, counter) for file, rows in opened.files)
    for (shape, roles), group in groupby((one for one in files if one), lambda one: one.recognised[:2]):
        rows = ((one.file, row) for one in group for row in one.rows)
        used = {
            *roles.values(),
            *(("prompt", "messages") if roles.get("prompt") in ("prompt", "messages") else ()),
        }
        people = (roles["user_id"],) if "user_id" in roles else PEOPLE
        if counter.one_person:
            roles = {role: column for role, column in roles.items() if role != "user_id"}
        yield from shape.convert(counter.over(rows, used, people), roles)


def _recognise_file(
    file: str, rows: Iterable[RawRow], format: str, given: Mapping[str, str], counter: RowCounter
) -> _KnownFile | None:
    """Recognises the shape of a file by its first rows."""
    first: list[Fields] = []
    taken: list[RawRow] = []
    rows = iter(rows)
    for row in rows:
        taken.append(row)
        if row.problem is None and row.fields is not None:
            first.append(row.fields)
            if len(first) == FIRST_ROWS:
                break
    if not taken:
        if counter.parsed:
            return None
        raise DataError(f"{file}: empty, or only a header. Give one row or more.")
    if not first and not counter.parsed:
        kind, reason = taken[0].problem or ("", "")
        raise DataError(f"{file}: no row can be read. The first, line {taken[0].line}: {kind}: {reason}.")
    found = recognise(first, given, format, file)
    if found is None and counter.parsed:  # the errors then name the bad rows
        roles = {role: given.get(role, role) for role in ("prompt", "chosen", "rejected")}
        found = Recognised(SHAPES["rows"], roles, "")
    names = list(dict.fromkeys(name for row in first for name in row))
    needed = [] if given.get("user_id", "user_id") in names else ["user_id"]
    if counter.one_person or (found and counter.id_optional and not column_hints("user_id", names)):
        needed = []
    if found is None:
        needed += missing_roles(first, given, format)
    if found is None or needed:
        raise DataError(missing_columns(file, names, needed, format if found is None else AUTO))
    if found.name:
        counter.collected.shapes[found.name] = None
    return _KnownFile(found, file, chain(taken, rows))
