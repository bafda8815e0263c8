"""What a named data set is, and how its files are read strictly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from fspo_jax.data.readers import RawRow
from fspo_jax.data.rows import BadRow
from fspo_jax.errors import DataError


class Label(NamedTuple):
    """One preference as a data set tells it.

    Attributes:
        line: Of the row that it comes from.
        prompt: A string, or messages `{"role", "content"}`.
        group: Language or group of the user, or `""`.
        description: What the user is like, in words, or `""`.
    """

    line: int
    user_id: str
    prompt: str | list[dict[str, str]]
    chosen: str
    rejected: str
    group: str = ""
    description: str = ""


Convert = Callable[["Files"], Iterator[tuple[str, "Label | RawRow"]]]
"""From files to (file, preference), or (file, row with a problem)."""


@dataclass(frozen=True)
class Dataset:
    """A published data set.

    Attributes:
        name: Under which it is loaded, `format` of a preference source.
        hub: Its `datasets` id or address.
        licence, citation: As its authors state them.
        user: Who the user is.
        rule: How rows become pairs: label direction, ratings, ties.
        group: What the group of a user is; empty for none.
        convert: The rule in code.
    """

    name: str
    hub: str
    licence: str
    citation: str
    user: str
    rule: str
    group: str
    convert: Convert

    def card(self) -> str:
        """What `fspo data inspect` says of it."""
        lines = {
            "where": self.hub,
            "licence": self.licence,
            "cite": self.citation,
            "user": self.user,
            "pairs": self.rule,
            "group": self.group or "none",
        }
        return "\n".join(f"  {name}: {text}" for name, text in lines.items())


class Files:
    """The files of a data set.

    Args:
        name: Of the data set, for messages.
        files: (file, rows), as `readers.open_source` gives them.
    """

    def __init__(self, name: str, files: Iterable[tuple[str, Iterable[RawRow]]]):
        self._name, self._files = name, list(files)

    def rows(
        self,
        columns: Iterable[str],
        part: str = "",
        *,
        start: str = "",
        but: tuple[str, ...] = (),
        optional: bool = False,
    ) -> Iterator[tuple[str, RawRow]]:
        """Rows of the files whose name contains `part`, begins with `start` and with none of `but`, with their file.

        Raises:
            DataError: There is no such file, or a column of the published schema is missing (it is named). With
                `optional`, no file gives no rows.
        """
        names = [file.replace("\\", "/").rsplit("/", 1)[-1] for file, _ in self._files]
        files = [
            found
            for found, name in zip(self._files, names, strict=True)
            if part in name and name.startswith(start) and not name.startswith(but)
        ]
        if not files and not optional:
            found = ", ".join(file for file, _ in self._files)
            wanted = f"with '{part}' in its name" if part else "of pairs"
            raise DataError(f"{self._name}: there is no file {wanted}; found {found}.")
        for file, rows in files:
            for number, row in enumerate(rows):
                if number == 0 and row.fields is not None:
                    self._check(file, columns, row.fields)
                yield file, row

    def _check(self, file: str, columns: Iterable[str], found: Mapping[str, Any]) -> None:
        missing = [column for column in columns if column not in found]
        if missing:
            raise DataError(
                f"{file}: column '{missing[0]}' of the schema of {self._name} is missing; found {', '.join(found)}. "
                'Give the files as published, or use format = "rows".'
            )


def fields_of(row: RawRow) -> Mapping[str, Any]:
    """The columns of a row; raises `BadRow` where it cannot be read."""
    if row.problem is not None or row.fields is None:
        raise BadRow(*(row.problem or ("malformed row", "the row has no columns")))
    return row.fields


def text(fields: Mapping[str, Any], column: str) -> str:
    """A non-empty text; raises `BadRow`."""
    value = fields.get(column)
    if value is None or value == "":
        raise BadRow("missing field", f"'{column}' is missing")
    if not isinstance(value, str):
        raise BadRow("wrong type", f"{column} must be a string, not {type(value).__name__}")
    return value


def identity(fields: Mapping[str, Any], column: str) -> str:
    """An id that files hold as text or as a number; raises `BadRow`."""
    value = fields.get(column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRow("missing field", f"'{column}' is missing or no id")
    return str(value)


def number(fields: Mapping[str, Any], column: str) -> float:
    """A number, or a text that is one; raises `BadRow`."""
    value = fields.get(column)
    try:
        if value is None or isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise BadRow("wrong type", f"{column} must be a number, not {value!r:.60}") from None


def flag(fields: Mapping[str, Any], column: str) -> bool:
    """True or false, or a text that says so; raises `BadRow`."""
    value = fields.get(column)
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise BadRow("wrong type", f"{column} must be true or false, not {value!r:.60}")


def each_row(
    rows: Iterable[tuple[str, RawRow]], convert: Callable[[int, Mapping[str, Any]], Iterable[Label]]
) -> Iterator[tuple[str, Label | RawRow]]:
    """Converts row by row; a bad one becomes a row with its problem."""
    for file, row in rows:
        try:
            for label in convert(row.line, fields_of(row)):
                yield file, label
        except BadRow as bad:
            yield file, row._replace(problem=(bad.kind, str(bad)))
