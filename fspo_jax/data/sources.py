"""Users, and the pairs of one person, from rows of any known shape.

Nothing is dropped silently: a bad row is either raised (`strict`) or set aside with file, line and reason.
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
"""Readable rows by which the shape of a file is told."""


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
    """Loads the labelled pairs of people: the reader of `fspo train`, `evaluate`, `calibrate` and `data validate`.

    The shape of the rows is told by their columns, and named by `LoadedUsers.summary()`:

    - `rows`: `user_id`, `chosen`, `rejected`, and `prompt` (a string or a conversation) or `messages` (a conversation);
      `chosen` and `rejected` are strings or chats, as in TRL. Without a prompt, it is what both begin with.
    - `winner`: `user_id`, `prompt`, `response_a`, `response_b` (or `answer_a`, ...) and `winner`; ties are dropped.
    - `ratings`: `user_id`, `prompt`, `response` and `rating`, or `response_1`, `rating_1`, `response_2`, ...; on each
      rater's own scale (`data.ratings`).
    - `kto`: `user_id`, `prompt`, `completion` and `label`; a good and a bad response to one prompt make a pair.

    An optional `group` and an optional `description` (in words, what the user is like) belong to the user. Nulls
    count as missing. Blank lines are no rows. In csv, lists of messages are cells of JSON.

    A bad row is set aside, never repaired; texts are not trimmed; a whole number is an id like its digits. Of two rows
    of one user that are equal (duplicate) or have chosen and rejected swapped (contradiction) the later one
    is bad; its reason names the earlier one, which is kept. So rows that are appended later never change
    what was kept before, and a first answer counts as the answer. The same holds for a `group` or
    `description` that differs from that of the user's earlier rows. Responses that differ in surrounding
    white space only are equal.

    Args:
        path: File (jsonl, json, csv, these with .gz, or parquet); directory of such files, or written by
            `datasets.save_to_disk` or `fspo data make`; `datasets` id `"owner/name"` of which all splits are
            read; `sample:NAME`; `-` for standard input; bytes of a file; or rows, as mappings. An existing path wins
            over an id. Relative paths are relative to the current directory.
        format: `auto`, one of the shapes above, or the name of a published data set (`data.datasets.catalogue`), whose
            own columns are then expected.
        columns: Which of your columns is which: `{"prompt": "question", "user_id": "annotator"}`, or the same as
            text, `"prompt=question,user_id=annotator"`.
        source: Name of the study for `User.source`; by default `source_name(path)`.
        split: Only this split of what `fspo data make` wrote; all of them by default.
        strict: Raise at the first bad row.
        rejects: File to write the bad rows to, JSON lines with the fields of `Reject`. It is replaced in
            one step, also when there are none, so it never holds the rejects of an earlier load.

    Returns:
        The users, a sequence; with the rows that were set aside (`rejects`), counts, and a `summary()` in words.

    Raises:
        DataError: Wrong path, unknown extension, damaged or empty file, columns of no known shape or of several, a
            rejects file that cannot be written; with `strict`, the first bad row.

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
        collected.collect(_labels(opened, format, given, _Watch(collected)))
    else:
        from fspo_jax.data.datasets.catalogue import dataset_labels  # needs numpy, which plain rows do not

        if given:
            raise DataError(f"columns are for rows of your own; the columns of {format} are known.")
        collected.rows = None
        collected.collect(dataset_labels(format, opened.files))
        if not collected.items:
            raise DataError(f"{path}: holds no row of {format}.")
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
    """Loads the pairs of one person, of any shape that `load_users` reads; `user_id` may lack.

    Duplicates, contradictions and ties are set aside and counted. Any other bad row raises: of a few pairs, each
    matters.

    Args:
        location: As for `load_users`. Rows that are given as mappings may be none.
        format: As for `load_users`; published data sets are of many people.
        columns: As for `load_users`.
        name: How messages call rows that have no path.

    Returns:
        One user, or none where there is no pair.

    Raises:
        DataError: As `load_users`; a bad row; rows of several people; a column whose name is nearly a known one.
    """
    if format not in (AUTO, *SHAPES):
        raise DataError(
            f"format is '{format}'. Pairs of one person have one of: {', '.join((AUTO, *SHAPES))}."
        )
    opened = open_location(location, name)
    parsed = not isinstance(location, str | bytes | Path)
    given = parse_columns(columns) if isinstance(columns, str) else check_columns(columns or {})
    collected = Collected("", strict=False)
    watch = _Watch(collected, one_person=True, parsed=parsed)
    collected.collect(_labels(opened, format, given, watch))
    loaded = collected.result(opened.skipped, [file for file, _ in opened.files])
    for reject in loaded.rejects:
        if reject.kind in MALFORMED:
            place = f"{reject.file}, pair {reject.line}" if parsed else f"{reject.file}:{reject.line}"
            raise DataError(f"{place}: {reject.reason}.")
    for column in loaded.ignored_columns:
        if known := mistyped(column):
            raise DataError(f"{opened.files[0][0]}: unknown column '{column}'. Did you mean '{known}'?")
    people = max(watch.people.values(), key=len, default=set())
    if len(people) > 1:
        raise DataError(
            f"{opened.files[0][0]}: the pairs are of {len(people):,} users; one user at a time can be adapted to. "
            "Keep the rows of one."
        )
    return loaded


class _Watch:
    """Counts rows as they are read, and notes whose they are."""

    def __init__(self, collected: Collected, one_person: bool = False, parsed: bool = False):
        self.collected, self.one_person, self.parsed = collected, one_person, parsed
        self.people: dict[str, set[str]] = {}

    def over(self, rows: FileRows, used: set[str], people: Sequence[str]) -> FileRows:
        """The rows of files of one shape.

        Args:
            rows: With their files.
            used: Columns that are read.
            people: Columns that may say whose a row is.
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
        with contextlib.suppress(BadRow):  # a row without an id is of the same person as the others
            self.people.setdefault(column, set()).add(identity(fields, column))


class _Told(NamedTuple):
    """A file of a known shape."""

    recognised: Recognised
    file: str
    rows: Iterable[RawRow]


def _labels(opened: Opened, format: str, given: Mapping[str, str], watch: _Watch) -> Labels:
    """The labels of all files, those of one shape together."""
    files = (_tell(file, rows, format, given, watch) for file, rows in opened.files)
    for (shape, roles), group in groupby((one for one in files if one), lambda one: one.recognised[:2]):
        rows = ((one.file, row) for one in group for row in one.rows)
        used = {
            *roles.values(),
            *(("prompt", "messages") if roles.get("prompt") in ("prompt", "messages") else ()),
        }
        people = (roles["user_id"],) if "user_id" in roles else PEOPLE
        if watch.one_person:
            roles = {role: column for role, column in roles.items() if role != "user_id"}
        yield from shape.convert(watch.over(rows, used, people), roles)


def _tell(
    file: str, rows: Iterable[RawRow], format: str, given: Mapping[str, str], watch: _Watch
) -> _Told | None:
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
        if watch.parsed:
            return None
        raise DataError(f"{file} is empty: it has no row.")
    if not first and not watch.parsed:
        kind, reason = taken[0].problem or ("", "")
        raise DataError(f"{file}: no row can be read. The first, line {taken[0].line}: {kind}: {reason}.")
    found = recognise(first, given, format, file)
    if found is None and watch.parsed:  # say what is wrong row by row
        roles = {role: given.get(role, role) for role in ("prompt", "chosen", "rejected")}
        found = Recognised(SHAPES["rows"], roles, "")
    names = list(dict.fromkeys(name for row in first for name in row))
    needed = [] if watch.one_person or given.get("user_id", "user_id") in names else ["user_id"]
    if found is None:
        needed += [name for name in ("prompt", "chosen", "rejected") if given.get(name, name) not in names]
        needed = [name for name in needed if name != "prompt" or "messages" not in names]
    if found is None or needed:
        raise DataError(missing_columns(file, names, needed, format if found is None else AUTO))
    if found.name:
        watch.collected.shapes[found.name] = None
    return _Told(found, file, chain(taken, rows))


def _exported(path: str | Path, split: str) -> LoadedUsers:
    """The users that `fspo data make` wrote."""
    splits = import_users(path)
    if split and split not in splits:
        raise DataError(f"{path}: has no split '{split}'. Found: {', '.join(splits)}.")
    users: list[User] = splits[split] if split else [user for part in splits.values() for user in part]
    pairs = sum(len(user.preferences) for user in users)
    parts = ", ".join(f"{counted(len(part), f'{name} user')}" for name, part in splits.items())
    shape = f"users written by 'fspo data make' ({parts})"
    return LoadedUsers(tuple(users), (), {"rows": pairs, "kept": pairs}, (shape,))
