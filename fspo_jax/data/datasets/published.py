"""The contract of a published data set, and strict reading of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fspo_jax.data.readers import RawRow
from fspo_jax.data.rows.shape import FileRows, Labels
from fspo_jax.errors import DataError, did_you_mean

Convert = Callable[["Files"], Labels]
"""From files to (file, preference), or (file, row with its problem)."""


@dataclass(frozen=True)
class Dataset:
    """A published data set.

    Attributes:
        name: Its name, the `format` of a preference source.
        hub: Its `datasets` id or address.
        licence, citation: As stated by its authors.
        user: Who counts as a user.
        rule: How rows become pairs: direction of labels, ratings, ties.
        group: What the group of a user is; empty for no groups.
        convert: The rule as a function.
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
        """Returns the text that `fspo data inspect` shows."""
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
        name: Name of the data set, for messages.
        files: (file, rows), as `locations.open_location` returns them.

    Attributes:
        place: File and line of the row that was read last, for messages.
    """

    place = ""

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
    ) -> FileRows:
        """Yields the rows of some of the files, each with its file.

        Args:
            columns: Required columns.
            part: The file's name contains this.
            start: The file's name begins with this.
            but: The file's name begins with none of these.
            optional: Whether there may be no such file.

        Raises:
            DataError: There is no such file (unless `optional`), or a column of the published data set is missing.
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
            raise DataError(f"{self._name}: there is no file {wanted}. Found {found}.")
        for file, rows in files:
            for number, row in enumerate(rows):
                if number == 0 and row.fields is not None:
                    self._check(file, columns, row.fields)
                self.place = f"{file}, line {row.line}"
                yield file, row

    def _check(self, file: str, columns: Iterable[str], found: Mapping[str, Any]) -> None:
        missing = [column for column in columns if column not in found]
        if missing:
            raise DataError(
                f"{file}: column '{missing[0]}' of the schema of {self._name} is missing; found {', '.join(found)}."
                f"{did_you_mean(missing[0], found)} Give the files as published, or leave out the format."
            )
