"""Loads users, or the pairs of one person, from rows of any known shape.

No row is dropped silently: a bad row raises (`strict`) or is set aside with file, line and reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fspo_jax.data.collecting import Collected, LoadedUsers
from fspo_jax.data.exchange import import_users, is_exported
from fspo_jax.data.locations import Location, open_location, source_name
from fspo_jax.data.rejects import MALFORMED, check_rejects_path, write_rejects
from fspo_jax.data.row_labels import RowCounter, row_labels
from fspo_jax.data.rows.recognise import AUTO, SHAPES, check_columns, mistyped, parse_columns
from fspo_jax.errors import DataError, counted
from fspo_jax.types import User


def load_users(
    path: Location,
    *,
    format: str = AUTO,
    columns: str | Mapping[str, str] | None = None,
    source: str = "",
    split: str = "",
    strict: bool = False,
    rejects: str | Path | None = None,
    id_optional: bool = False,
) -> LoadedUsers:
    """Loads the labelled pairs of people, as `fspo train`, `evaluate`, `calibrate` and `data validate` do.

    The columns show the shape of the rows, and `LoadedUsers.summary()` names it:

    - `rows`: `user_id`, `chosen`, `rejected`, and `prompt` (a string or a conversation) or `messages` (a conversation);
      `chosen` and `rejected` are strings or chats, as in TRL. Without a prompt, it is their common beginning.
    - `winner`: `user_id`, `prompt`, `response_a`, `response_b` (or `answer_a`, ...) and `winner`; ties are dropped.
    - `ratings`: `user_id`, `prompt`, `response` and `rating`, or `response_1`, `rating_1`, `response_2`, ..., or a list
      of `{response, rating}` in `completions`; ratings are corrected for each rater's scale (`data.ratings`). A person
      may have rated at most 1,000 responses to one prompt.
    - `kto`: `user_id`, `prompt`, `completion` and `label`; a good and a bad response to one prompt make a pair.

    The optional columns `group` and `description` (what the user is like, in words) belong to the user. Nulls count as
    missing. Blank lines are ignored. In csv, lists of messages are cells of JSON.

    Bad rows are set aside, never repaired. Texts are not trimmed, ids are. The ids 7, "7" and "7.0" are the same.
    If two rows of a user are equal (duplicate), or have chosen and rejected swapped (contradiction), the earlier row
    is kept and the later one is bad; its reason names the earlier one. So rows that are appended later never change
    which rows were kept. A `group` or `description` that differs from the user's earlier rows is treated in the same
    way. Responses that differ only in white space at their ends are equal.

    A file is refused if it exceeds a limit of `data.limits`, such as a line of more than 32 MiB.

    Args:
        path: A file (jsonl, json, csv, each with or without .gz, or parquet); a directory of such files, or one written
            by `datasets.save_to_disk` or `fspo data make`; a `datasets` id `"owner/name"`, of which all splits are
            read; `sample:NAME`; `-` for standard input; the bytes of a file; or rows, as mappings. An existing path
            wins over an id. Relative paths are relative to the current directory.
        format: `auto`, one of the shapes above, or the name of a published data set (`data.datasets.catalogue`) with
            columns of its own.
        columns: Names of your columns: `{"prompt": "question", "user_id": "annotator"}`, or the same as text,
            `"prompt=question,user_id=annotator"`.
        source: Name of the study, for `User.source`; by default `source_name(path)`. Users that `fspo data make` wrote
            keep theirs.
        split: The split to read of a directory that `fspo data make` wrote; by default all.
        strict: Whether to raise at the first bad row.
        rejects: File for the bad rows, as JSON lines with the fields of `Reject`. If there are none, no
            file is left, not even one of an earlier load.
        id_optional: Whether a file without a column for the person is read as the pairs of one person, whose id is "".
            Otherwise such a file is an error.

    Returns:
        The users, as a sequence with the rows that were set aside (`rejects`), counts, and a `summary()` in words.

    Raises:
        DataError: The path does not exist, the extension is unknown, the file is damaged or empty, the columns have no
            known shape or several, the rejects file cannot be written; with `strict`, also the first bad row.
        LimitError: A person has rated more than 1,000 responses to one prompt.

    Example:
        >>> people = load_users([{"user_id": 7, "prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}])
        >>> people.summary()
        '1 of 1 row kept, 1 user; read as preference rows (prompt, chosen, rejected)'
        >>> people[0].user_id
        '7'
    """
    given = parse_columns(columns) if isinstance(columns, str) else check_columns(columns or {})
    own = format == AUTO or format in SHAPES
    if not own:
        from fspo_jax.data.datasets.catalogue import named_dataset  # needs numpy, which plain rows do not

        named_dataset(format)
        if given:
            raise DataError(
                f"'columns' is for rows of your own, but the columns of '{format}' are known. Leave one out."
            )
    if isinstance(path, str | Path):
        source = source or source_name(path)
        if format == AUTO and is_exported(path):
            if given:
                raise DataError(
                    f"'columns' is for rows of your own, but {path} was written by 'fspo data make'. Leave it out."
                )
            if rejects is not None:
                check_rejects_path(rejects, path, ())
                write_rejects(rejects, ())
            return _exported(path, split)
    opened = open_location(path)
    names = [name for name, _ in opened.files]
    if rejects is not None:
        check_rejects_path(rejects, path if isinstance(path, str | Path) else "", names)
    collected = Collected(source, strict)
    if own:
        collected.collect(row_labels(opened, format, given, RowCounter(collected, id_optional=id_optional)))
    else:
        from fspo_jax.data.datasets.catalogue import dataset_labels

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
    name: str = "",
    most: int | None = None,
) -> LoadedUsers:
    """Loads the pairs of one person, in any shape that `load_users` reads; `user_id` is optional.

    Duplicates, contradictions and ties are set aside and counted. Any other bad row raises, because every one of a few
    pairs matters.

    Args:
        location: As `path` of `load_users`. A list of rows may be empty.
        format: As for `load_users`, without published data sets, which have many people.
        columns: As for `load_users`.
        name: Name of input without a path, in messages.
        most: Most pairs that are read; None for any number.

    Returns:
        One user, or none if there is no pair.

    Raises:
        DataError: As for `load_users`; or a row is bad, the rows have several users, or a column name is mistyped.
        LimitError: There are more than `most` pairs.
    """
    if format not in (AUTO, *SHAPES):
        raise DataError(
            f"format is '{format}'. For the pairs of one person use one of: {', '.join((AUTO, *SHAPES))}."
        )
    opened = open_location(location, name)
    parsed = not isinstance(location, str | bytes | Path)
    given = parse_columns(columns) if isinstance(columns, str) else check_columns(columns or {})
    collected = Collected("", strict=False, most=most)
    counter = RowCounter(collected, one_person=True, parsed=parsed)
    collected.collect(row_labels(opened, format, given, counter))
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
