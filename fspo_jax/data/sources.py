"""Real preferences: rows `{user_id, prompt | messages, chosen, rejected}` to users.

Nothing is dropped silently: a bad row is either raised (`strict`) or set aside with file, line and reason.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from fspo_jax.data.readers import RawRow, extension, open_source
from fspo_jax.data.rejects import REASONS, Reject, check_rejects_path, write_rejects
from fspo_jax.data.rows import COLUMNS, BadRow, parse_row
from fspo_jax.data.samples import resolve_sample
from fspo_jax.errors import DataError
from fspo_jax.types import Preference, Prompt, User


@dataclass(frozen=True)
class LoadedUsers(Sequence[User]):
    """The users of a source, as a sequence, and what was set aside.

    Attributes:
        users: In order of first appearance; a user's preferences are in file order. Equal texts are one
            object in memory.
        rejects: Bad rows in file order.
        counts: `"rows"` (all rows but blank lines), `"kept"`, and one entry for each of `rejects.REASONS`
            that occurred; rows = kept + the sum of the reasons.
        ignored_columns: Unknown column to the number of rows that have it.
        skipped_files: Files of a directory that are not data files.
    """

    users: tuple[User, ...]
    rejects: tuple[Reject, ...]
    counts: Mapping[str, int]
    ignored_columns: Mapping[str, int] = field(default_factory=dict)
    skipped_files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, index: Any) -> Any:
        return self.users[index]

    def summary(self) -> str:
        """One line: rows, users, rows set aside by reason, ignored columns and files."""
        counts = self.counts
        text = f"{counts['kept']:,} of {counts['rows']:,} rows kept, {len(self.users):,} users"
        if self.rejects:
            reasons = ", ".join(f"{kind} {counts[kind]:,}" for kind in REASONS if kind in counts)
            text += f"; {len(self.rejects):,} set aside: {reasons}"
        if self.ignored_columns:
            text += f"; ignored columns: {', '.join(self.ignored_columns)}"
        if self.skipped_files:
            text += f"; {len(self.skipped_files):,} other files skipped"
        return text


def load_users(
    path: str | Path,
    *,
    format: str = "rows",
    source: str = "",
    strict: bool = False,
    rejects: str | Path | None = None,
) -> LoadedUsers:
    """Loads labelled pairs of real people.

    A row has `user_id`, `chosen`, `rejected` and either `prompt` (a string or a conversation) or `messages`
    (a conversation; in csv a cell of JSON). `chosen` and `rejected` are strings, or lists of one assistant
    message as in TRL's conversational format, which stand for that message's text. An optional `group`
    and an optional `description` (in words, what the user is like) belong to the user. Nulls count as missing.
    Blank lines are no rows.

    A bad row is set aside, never repaired: ids are not converted to strings, texts not trimmed. Of two rows
    of one user that are equal (duplicate) or have chosen and rejected swapped (contradiction) the later one
    is bad; its reason names the earlier one, which is kept. So rows that are appended later never change
    what was kept before, and a first answer counts as the answer. The same holds for a `group` or
    `description` that differs from that of the user's earlier rows. Responses that differ in surrounding
    white space only are equal.

    Args:
        path: File (jsonl, json, csv, these with .gz, or parquet), directory of such files, directory
            written by `datasets.save_to_disk`, or `datasets` id `"owner/name"` of which all splits are
            read. An existing path wins over an id. Relative paths are relative to the current directory.
        format: `rows` for the columns above, or the name of a published data set (`data.datasets.catalogue`), whose
            own columns are then expected.
        source: Name of the study for `User.source`; by default `source_name(path)`.
        strict: Raise at the first bad row.
        rejects: File to write the bad rows to, JSON lines with the fields of `Reject`. It is replaced in
            one step, also when there are none, so it never holds the rejects of an earlier load.

    Raises:
        DataError: Wrong path, unknown extension, damaged or empty file, a column that no row has, a rejects
            file that cannot be written; with `strict`, the first bad row.

    Example:
        >>> loaded = load_users("people.jsonl", rejects="people.rejects.jsonl")  # doctest: +SKIP
        >>> loaded.summary()  # doctest: +SKIP
        '8,597 of 8,600 rows kept, 432 users; 3 set aside: contradiction 3'
    """
    files, skipped = open_source(path)
    if rejects is not None:
        check_rejects_path(rejects, path, [name for name, _ in files])
    collected = _Collected(source or source_name(path), strict)
    if format == "rows":
        for name, rows in files:
            collected.read(name, rows)
    else:
        from fspo_jax.data.datasets.catalogue import dataset_rows  # needs numpy, which plain rows do not

        for name, rows in groupby(dataset_rows(format, path), key=lambda found: found[0]):
            collected.read(name, (row for _, row in rows))
        if not collected.counts["rows"]:
            raise DataError(f"{path}: holds no row of {format}.")
    loaded = collected.result(skipped)
    if rejects is not None:
        write_rejects(rejects, loaded.rejects)
    return loaded


def source_name(path: str | Path) -> str:
    """Default name of a source: the file's name without extension, or the last part of a directory or id."""
    name = Path(os.path.abspath(resolve_sample(path))).name
    known = extension(name)
    return name[: -len(known)] if known else name


@dataclass
class _Collected:
    """State of one load: users so far, rejects so far, and where each pair, group and description was first seen."""

    source: str
    strict: bool
    users: dict[str, list[Preference]] = field(default_factory=dict)
    user_fields: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    seen: dict[tuple[str, Prompt, str, str], tuple[str, int]] = field(default_factory=dict)
    texts: dict[Any, Any] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)

    def read(self, name: str, rows: Iterable[RawRow]) -> None:
        """Adds the rows of one file."""
        columns: dict[str, None] = {}
        rejects_before, rows_before = len(self.rejects), self.counts["rows"]
        for row in rows:
            self.counts["rows"] += 1
            try:
                if row.problem is not None or row.fields is None:
                    raise BadRow(*(row.problem or ("malformed row", "the row has no columns")))
                for column in row.fields:
                    columns[column] = None
                    if column not in COLUMNS:
                        self.ignored[column] += 1
                self._add(name, row.line, row.fields)
            except BadRow as bad:
                if self.strict:
                    raise DataError(
                        f"{name}:{row.line}: {bad.kind}: {bad}. Correct the row, or load without strict to "
                        "set bad rows aside."
                    ) from None
                raw = row.raw
                text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=repr)
                self.rejects.append(Reject(name, row.line, bad.kind, str(bad), text))
                self.counts[bad.kind] += 1
        if self.counts["rows"] == rows_before:
            raise DataError(f"{name}: the file is empty: it has no row.")
        _check_columns(name, columns, self.rejects[rejects_before:])

    def _add(self, name: str, line: int, fields: Mapping[str, Any]) -> None:
        user_id, prompt, chosen, rejected, group, description = parse_row(fields)
        if where := self.seen.get((user_id, prompt, chosen, rejected)):
            raise BadRow("duplicate", f"the same pair of this user stands at {where[0]}:{where[1]}")
        if where := self.seen.get((user_id, prompt, rejected, chosen)):
            raise BadRow(
                "contradiction", f"this user chose the other response at {where[0]}:{where[1]}, which is kept"
            )
        user_fields = {(user_id, "group"): group, (user_id, "description"): description}
        for (_, column), value in user_fields.items():
            known, said = self.user_fields.get((user_id, column), (value, ""))
            if value and value != known:
                raise BadRow(
                    f"conflicting {column}",
                    f"{column} is {value!r:.80}; the user's {column} is {known!r:.80} at {said}: it is of the user, "
                    "not of the row; rename the column if it is something else",
                )
        for key, value in user_fields.items():
            if value:
                self.user_fields.setdefault(key, (value, f"{name}:{line}"))
        one = self.texts.setdefault
        prompt, chosen, rejected = one(prompt, prompt), one(chosen, chosen), one(rejected, rejected)
        self.seen[user_id, prompt, chosen, rejected] = (name, line)
        self.users.setdefault(user_id, []).append(Preference(prompt, chosen, rejected))

    def result(self, skipped: tuple[str, ...]) -> LoadedUsers:
        """Everything that was read."""
        self.counts["kept"] = self.counts["rows"] - len(self.rejects)
        users = tuple(
            User(
                user_id,
                tuple(preferences),
                self.source,
                self.user_fields.get((user_id, "group"), ("", ""))[0],
                description=self.user_fields.get((user_id, "description"), ("", ""))[0],
            )
            for user_id, preferences in self.users.items()
        )
        return LoadedUsers(users, tuple(self.rejects), dict(self.counts), dict(self.ignored), skipped)


def _check_columns(name: str, columns: Mapping[str, None], rejects: Sequence[Reject]) -> None:
    """Raises if a needed column stands in no row of the file."""
    if not columns:
        first = rejects[0]
        raise DataError(
            f"{name}: no row can be read. The first, line {first.line}: {first.kind}: {first.reason}."
        )
    lacking = [c for c in ("user_id", "prompt", "chosen", "rejected") if c not in columns]
    if "messages" in columns and "prompt" in lacking:
        lacking.remove("prompt")
    if lacking:
        raise DataError(
            f"{name}: missing column {', '.join(lacking)}. Found: {', '.join(columns)}. Rename them to "
            "user_id, prompt (or messages), chosen, rejected."
        )
