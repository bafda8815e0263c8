"""Collects labels into users, leaves out duplicates and contradictions, and counts everything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fspo_jax.arguments import shown
from fspo_jax.data.limits import MALFORMED_ROWS
from fspo_jax.data.readers import RawRow
from fspo_jax.data.rejects import MALFORMED, REASONS, Reject
from fspo_jax.data.rows.fields import TIE, BadRow
from fspo_jax.data.rows.recognise import mistyped
from fspo_jax.data.rows.shape import Label, Labels
from fspo_jax.errors import DataError, LimitError, counted
from fspo_jax.types import Preference, Prompt, User


@dataclass(frozen=True, repr=False)
class LoadedUsers(Sequence[User]):
    """The users of a source, as a sequence, with counts and the rows that were set aside.

    Attributes:
        users: Users in order of first appearance, each with preferences in file order. Equal texts share memory.
        rejects: Bad rows in file order.
        counts: `"rows"` (all rows except blank lines), `"kept"`, `"tie"` (rows in which no response won) and one entry
            for each of `rejects.REASONS` that occurred. If every row is one pair, rows = kept + tie + the reasons;
            otherwise there is also `"pairs"`.
        shapes: How the rows were read, in words. Empty for a published data set.
        ignored_columns: Unknown column to the number of rows that have it.
        skipped_files: Files of a directory that are not data files.
    """

    users: tuple[User, ...]
    rejects: tuple[Reject, ...]
    counts: Mapping[str, int]
    shapes: tuple[str, ...] = ()
    ignored_columns: Mapping[str, int] = field(default_factory=dict)
    skipped_files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        return f"LoadedUsers({self.summary()})"

    def __getitem__(self, index: Any) -> Any:
        return self.users[index]

    def summary(self) -> str:
        """One line: rows, users, rows set aside by reason, how the rows were read, ignored columns and files."""
        counts = self.counts
        text = f"{counts['kept']:,} of {counted(counts['rows'], 'row')} kept"
        if "pairs" in counts:
            text += f", {counted(counts['pairs'], 'pair')}"
        if any(user.user_id for user in self.users) or not self.users:
            text += f", {counted(len(self.users), 'user')}"
        if TIE in counts:
            text += f"; {counted(counts[TIE], TIE)} dropped"
        if self.rejects:
            reasons = ", ".join(f"{kind} {counts[kind]:,}" for kind in REASONS if kind in counts)
            text += f"; {len(self.rejects):,} set aside: {reasons}"
        if self.shapes:
            text += f"; read as {' and '.join(self.shapes)}"
        if self.ignored_columns:
            text += f"; ignored columns: {', '.join(map(_with_hint, self.ignored_columns))}"
        if self.skipped_files:
            text += f"; {counted(len(self.skipped_files), 'other file')} skipped"
        return text


def _with_hint(column: str) -> str:
    known = mistyped(column)
    return f"{column} (did you mean '{known}'?)" if known else column


@dataclass
class Collected:
    """State of one load: users and rejects so far, and where each pair, group and description first occurred.

    Attributes:
        source: Name of the study.
        strict: Whether to raise at the first bad row.
        rows: Number of rows read so far; None to count labels and bad rows instead.
        most: Most pairs that are kept; None for any number.
    """

    source: str
    strict: bool
    rows: int | None = 0
    most: int | None = None
    shapes: dict[str, None] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    users: dict[str, list[Preference]] = field(default_factory=dict)
    user_fields: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    seen: dict[tuple[str, Prompt, str, str], tuple[str, int]] = field(default_factory=dict)
    texts: dict[Any, Any] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    items: int = 0

    def collect(self, labels: Labels) -> None:
        """Adds labels and sets bad rows aside.

        Raises:
            DataError: With `strict`, at the first bad one.
            LimitError: There are more than `most` pairs.
        """
        for file, found in labels:
            self.items += 1
            try:
                if isinstance(found, RawRow):
                    raise BadRow(*(found.problem or ("malformed row", "the row has no columns")))
                self._add(file, found)
            except BadRow as bad:
                self._set_aside(file, found, bad)

    def _set_aside(self, file: str, found: Label | RawRow, bad: BadRow) -> None:
        self.counts[bad.kind] += 1
        if bad.kind in MALFORMED and sum(self.counts[kind] for kind in MALFORMED) > MALFORMED_ROWS:
            raise DataError(
                f"{file}:{found.line}: more than {MALFORMED_ROWS:,} rows are malformed, the last: {bad}. Is this a "
                "file of rows?"
            )
        if bad.kind == TIE:
            return
        if self.strict:
            raise DataError(
                f"{file}:{found.line}: {bad.kind}: {bad}. Correct the row, or load without strict to "
                "set bad rows aside."
            )
        raw = found.raw
        if raw is None and isinstance(found, Label):
            raw = {
                name: value
                for name, value in found._asdict().items()
                if value and name not in ("line", "raw")
            }
        try:
            text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=repr)
        except (RecursionError, ValueError, TypeError):  # nested too deeply, or keys that are no texts
            text = shown(raw)
        self.rejects.append(Reject(file, found.line, bad.kind, str(bad), text))

    def _add(self, file: str, label: Label) -> None:
        user_id, prompt, chosen, rejected = label.user_id, label.prompt, label.chosen, label.rejected
        if chosen.strip() == rejected.strip():
            raise BadRow(
                "chosen equals rejected",
                "the two responses are equal, so the row says nothing about the user",
            )
        if where := self.seen.get((user_id, prompt, chosen, rejected)):
            raise BadRow("duplicate", f"the same pair of this user is at {where[0]}:{where[1]}")
        if where := self.seen.get((user_id, prompt, rejected, chosen)):
            raise BadRow(
                "contradiction", f"this user chose the other response at {where[0]}:{where[1]}, which is kept"
            )
        given = [pair for pair in (("group", label.group), ("description", label.description)) if pair[1]]
        for column, value in given:
            known, place = self.user_fields.get((user_id, column), (value, ""))
            if value != known:
                raise BadRow(
                    f"conflicting {column}",
                    f"{column} is {value!r:.80}; the user's {column} is {known!r:.80} at {place}. It belongs to the "
                    "user, not to the row; rename the column if it is something else",
                )
        for column, value in given:
            self.user_fields.setdefault((user_id, column), (value, f"{file}:{label.line}"))
        one = self.texts.setdefault
        prompt, chosen, rejected = one(prompt, prompt), one(chosen, chosen), one(rejected, rejected)
        if len(self.seen) == self.most:
            raise LimitError(
                f"{file}: there are more than {self.most:,} pairs, which is the most that are read at once."
            )
        self.seen[user_id, prompt, chosen, rejected] = (file, label.line)
        self.users.setdefault(user_id, []).append(Preference(prompt, chosen, rejected))

    def result(self, skipped: tuple[str, ...], files: Sequence[str]) -> LoadedUsers:
        """Returns everything that was read."""
        rows = self.items if self.rows is None else self.rows
        pairs = sum(map(len, self.users.values()))
        kept = rows - len({(reject.file, reject.line) for reject in self.rejects}) - self.counts[TIE]
        if self.rows is None:
            kept = rows - len(self.rejects)
        counts = {"rows": rows, "kept": kept} | ({} if pairs == kept else {"pairs": pairs})
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
        order = {file: number for number, file in enumerate(files)}
        rejects = sorted(self.rejects, key=lambda reject: (order.get(reject.file, 0), reject.line))
        return LoadedUsers(
            users,
            tuple(rejects),
            counts | {kind: count for kind, count in self.counts.items() if count},
            tuple(self.shapes),
            dict(self.ignored),
            skipped,
        )
