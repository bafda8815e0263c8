"""Loads users, or the pairs of one person, from rows of any known shape.

No row is dropped silently: a bad row raises (`strict`) or is set aside with file, line and reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from fspo_jax.data.collecting import Collected, LoadedUsers
from fspo_jax.data.exchange import import_users, is_exported
from fspo_jax.data.locations import Location, Opened, open_location, source_name
from fspo_jax.data.readers import RawRow
from fspo_jax.data.rejects import MALFORMED, check_rejects_path, write_rejects
from fspo_jax.data.rows.fields import BadRow, Fields, identity
from fspo_jax.data.rows.recognise import (
    AUTO,
    PEOPLE,
    SHAPES,
    Recognised,
    check_columns,
    missing_columns,
    mistyped,
    parse_columns,
    recognise,
)
from fspo_jax.data.rows.shape import FileRows, Labels
from fspo_jax.errors import DataError, counted
from fspo_jax.types import User

FIRST_ROWS = 1000
"""Number of readable rows that are used to recognise the shape of a file."""


def load_users(
    path: Location,
    *,
    format: str = AUTO,
    columns: str | Mapping[str, str] | None = None,
    source: str = "",
    split: str = "",
    strict: bool = False,
    rejects: str | Path | None = None,
) -> LoadedUsers:
    """Loads the labelled pairs of people, as `fspo train`, `evaluate`, `calibrate` and `data validate` do.

    The columns show the shape of the rows, and `LoadedUsers.summary()` names it:

    - `rows`: `user_id`, `chosen`, `rejected`, and `prompt` (a string or a conversation) or `messages` (a conversation);
      `chosen` and `rejected` are strings or chats, as in TRL. Without a prompt, it is their common beginning.
    - `winner`: `user_id`, `prompt`, `response_a`, `response_b` (or `answer_a`, ...) and `winner`; ties are dropped.
    - `ratings`: `user_id`, `prompt`, `response` and `rating`, or `response_1`, `rating_1`, `response_2`, ...; ratings
      are corrected for each rater's scale (`data.ratings`).
    - `kto`: `user_id`, `prompt`, `completion` and `label`; a good and a bad response to one prompt make a pair.

    The optional columns `group` and `description` (what the user is like, in words) belong to the user. Nulls count as
    missing. Blank lines are ignored. In csv, lists of messages are cells of JSON.

    Bad rows are set aside, never repaired. Texts are not trimmed. The ids 7 and "7" are the same. If two rows of a user
    are equal (duplicate), or have chosen and rejected swapped (contradiction), the earlier row is kept and the later
    one is bad; its reason names the earlier one. So rows that are appended later never change which rows were kept. A
    `group` or `description` that differs from the user's earlier rows is treated in the same way. Responses that differ
    only in white space at their ends are equal.

    Args:
        path: A file (jsonl, json, csv, each with or without .gz, or parquet); a directory of such files, or one written
            by `datasets.save_to_disk` or `fspo data make`; a `datasets` id `"owner/name"`, of which all splits are
            read; `sample:NAME`; `-` for standard input; the bytes of a file; or rows, as mappings. An existing path
            wins over an id. Relative paths are relative to the current directory.
        format: `auto`, one of the shapes above, or the name of a published data set (`data.datasets.catalogue`) with
            columns of its own.
        columns: Names of your columns: `{"prompt": "question", "user_id": "annotator"}`, or the same as text,
            `"prompt=question,user_id=annotator"`.
        source: Name of the study, for `User.source`; by default `source_name(path)`.
        split: The split to read of a directory that `fspo data make` wrote; by default all.
        strict: Whether to raise at the first bad row.
        rejects: File for the bad rows, as JSON lines with the fields of `Reject`. It is replaced even if there are
            none, so it never contains the rejects of an earlier load.

    Returns:
        The users, as a sequence with the rows that were set aside (`rejects`), counts, and a `summary()` in words.

    Raises:
        DataError: The path does not exist, the extension is unknown, the file is damaged or empty, the columns have no
            known shape or several, the rejects file cannot be written; with `strict`, also the first bad row.

    Example:
        >>> people = load_users([{"user_id": 7, "prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}])
        >>> people.summary()
        '1 of 1 row kept, 1 user; read as preference rows (prompt, chosen, rejected)'
        >>> people[0].user_id
        '7'
    """
    if isinstance(path, str | Path):
        source = source or source_name(path)
        if format == AUTO and is_exported(path):
            return _exported(path, split)
    opened = open_location(path)
    names = [name for name, _ in opened.files]
    if rejects is not None:
        check_rejects_path(rejects, path if isinstance(path, str | Path) else "", names)
    collected = Collected(source, strict)
    given = parse_columns(columns) if isinstance(columns, str) else check_columns(columns or {})
    if format == AUTO or format in SHAPES:
        collected.collect(_labels(opened, format, given, _RowCounter(collected)))
    else:
        from fspo_jax.data.datasets.catalogue import dataset_labels  # needs numpy, which plain rows do not

        if given:
            raise DataError(
                f"'columns' is for rows of your own, but the columns of '{format}' are known. Leave one out."
            )
        collected.rows = None
        collected.collect(dataset_labels(format, opened.files))
        if not collected.items:
            raise DataError(f"{path}: has no row of {format}.")
    loaded = collected.result(opened.skipped, names)
    if rejects is not None:
        write_rejects(rejects, loaded.rejects)
    return loaded


def load_pairs(
    location: Location,
    *,
    format: str = AUTO,
    columns: str | Mapping[str, str] | None = None,
    name: str = "the rows given",
) -> LoadedUsers:
    """Loads the pairs of one person, in any shape that `load_users` reads; `user_id` is optional.

    Duplicates, contradictions and ties are set aside and counted. Any other bad row raises, because every one of a few
    pairs matters.

    Args:
        location: As `path` of `load_users`. A list of rows may be empty.
        format: As for `load_users`, without published data sets, which have many people.
        columns: As for `load_users`.
        name: Name of rows without a path, in messages.

    Returns:
        One user, or none if there is no pair.

    Raises:
        DataError: As for `load_users`; or a row is bad, the rows have several users, or a column name is mistyped.
    """
    if format not in (AUTO, *SHAPES):
        raise DataError(
            f"format is '{format}'. For the pairs of one person use one of: {', '.join((AUTO, *SHAPES))}."
        )
    opened = open_location(location, name)
    parsed = not isinstance(location, str | bytes | Path)
    given = parse_columns(columns) if isinstance(columns, str) else check_columns(columns or {})
    collected = Collected("", strict=False)
    counter = _RowCounter(collected, one_person=True, parsed=parsed)
    collected.collect(_labels(opened, format, given, counter))
    loaded = collected.result(opened.skipped, [file for file, _ in opened.files])
    for reject in loaded.rejects:
        if reject.kind in MALFORMED:
            place = f"{reject.file}, pair {reject.line}" if parsed else f"{reject.file}:{reject.line}"
            raise DataError(f"{place}: {reject.reason}.")
    for column in loaded.ignored_columns:
        if known := mistyped(column):
            raise DataError(f"{opened.files[0][0]}: unknown column '{column}'. Did you mean '{known}'?")
    people = max(counter.people.values(), key=len, default=set())
    if len(people) > 1:
        raise DataError(
            f"{opened.files[0][0]}: the pairs belong to {len(people):,} users, but a reward adapts to one at a time. "
            "Keep the rows of one user."
        )
    return loaded


class _RowCounter:
    """Counts rows as they are read, and collects the ids of the people who labelled them."""

    def __init__(self, collected: Collected, one_person: bool = False, parsed: bool = False):
        self.collected, self.one_person, self.parsed = collected, one_person, parsed
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


def _labels(opened: Opened, format: str, given: Mapping[str, str], counter: _RowCounter) -> Labels:
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
    file: str, rows: Iterable[RawRow], format: str, given: Mapping[str, str], counter: _RowCounter
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
        raise DataError(f"{file} is empty. Give a file with one row or more.")
    if not first and not counter.parsed:
        kind, reason = taken[0].problem or ("", "")
        raise DataError(f"{file}: no row can be read. The first, line {taken[0].line}: {kind}: {reason}.")
    found = recognise(first, given, format, file)
    if found is None and counter.parsed:  # the errors then name the bad rows
        roles = {role: given.get(role, role) for role in ("prompt", "chosen", "rejected")}
        found = Recognised(SHAPES["rows"], roles, "")
    names = list(dict.fromkeys(name for row in first for name in row))
    needed = [] if counter.one_person or given.get("user_id", "user_id") in names else ["user_id"]
    if found is None:
        needed += [name for name in ("prompt", "chosen", "rejected") if given.get(name, name) not in names]
        needed = [name for name in needed if name != "prompt" or "messages" not in names]
    if found is None or needed:
        raise DataError(missing_columns(file, names, needed, format if found is None else AUTO))
    if found.name:
        counter.collected.shapes[found.name] = None
    return _KnownFile(found, file, chain(taken, rows))


def _exported(path: str | Path, split: str) -> LoadedUsers:
    """Reads the users that `fspo data make` wrote."""
    splits = import_users(path)
    if split and split not in splits:
        raise DataError(f"{path}: has no split '{split}'. Found: {', '.join(splits)}.")
    users: list[User] = splits[split] if split else [user for part in splits.values() for user in part]
    pairs = sum(len(user.preferences) for user in users)
    parts = ", ".join(f"{counted(len(part), f'{name} user')}" for name, part in splits.items())
    shape = f"users written by 'fspo data make' ({parts})"
    return LoadedUsers(tuple(users), (), {"rows": pairs, "kept": pairs}, (shape,))
