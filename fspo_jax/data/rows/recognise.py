"""Recognises the shape of the rows of a file by its columns."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fspo_jax.data.rows.fields import Fields, has_calls
from fspo_jax.data.rows.labelled import LABELLED
from fspo_jax.data.rows.pairs import PAIRS
from fspo_jax.data.rows.rated import RATING, RATINGS
from fspo_jax.data.rows.shape import PROMPT, USER, Ambiguous, Columns, Roles, Shape
from fspo_jax.data.rows.winners import WINNER, WINNERS
from fspo_jax.errors import DataError, did_you_mean

SHAPES = {shape.key: shape for shape in (PAIRS, WINNERS, RATINGS, LABELLED)}
"""The known shapes, by the name that `format` accepts."""

AUTO = "auto"
"""The `format` that recognises the shape by the columns."""

PEOPLE = (
    "user", "userid", "annotator", "annotator_id", "worker", "worker_id", "rater", "rater_id", "judge", "judge_id",
    "participant", "participant_id", "labeler", "labeller", "evaluator", "respondent", "person",
)  # fmt: skip
"""Columns that may contain the id of the person. They are suggested, but not used as `user_id` unless named."""


PUBLISHED = {"if_chosen": "prism", "first_turn_preferred_response": "community_alignment"}
"""Columns that only one published data set has. Its name is suggested as the `format`."""


class Recognised(NamedTuple):
    """The shape of a file, the columns of its roles, and its name in messages."""

    shape: Shape
    roles: Roles
    name: str


def parse_columns(text: str) -> dict[str, str]:
    """Parses `prompt=question,chosen=better` into role to column. Put `"role=column"` in quotes if it has a comma.

    Raises:
        DataError: The text has another form, or a role is unknown or occurs twice.
    """
    found: dict[str, str] = {}
    for part in next(csv.reader([text], skipinitialspace=True), []):
        role, equals, column = part.strip().partition("=")
        if not equals or not column or role in found:
            raise DataError(
                f"columns must look like 'prompt=question,chosen=better', with each role once, not {text!r:.200}."
            )
        found[role] = column
    return check_columns(found)


def check_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """Returns role to column; raises `DataError` for an unknown role."""
    known = list(dict.fromkeys([*USER, *(role for shape in SHAPES.values() for role in shape.roles)]))
    for role in columns:
        if _base(role) not in known:
            names = ", ".join(name.replace("*", "a") for name in known)
            raise DataError(f"columns: unknown role '{role}'.{did_you_mean(role, known)} Known: {names}.")
    return dict(columns)


def recognise(rows: Sequence[Fields], given: Mapping[str, str], format: str, file: str) -> Recognised | None:
    """Recognises the shape of a file.

    Args:
        rows: The first rows of the file.
        given: Role to column, as the caller named them.
        format: Key of the shape, or `AUTO`.
        file: Name of the file, for messages.

    Returns:
        The shape, or None if no known shape has these columns.

    Raises:
        DataError: Several shapes have these columns, several columns fit one role, or a named column does not exist.
    """
    columns = Columns(rows, given)
    for role, column in given.items():
        if column not in columns.names:
            raise DataError(
                f"{file}: no column '{column}' for {role}.{did_you_mean(column, columns.names)} "
                f"Found: {', '.join(columns.names)}."
            )
    found: dict[str, tuple[Shape, Roles]] = {}
    unclear = []
    for shape in SHAPES.values() if format == AUTO else [SHAPES[format]]:
        if all(_base(role) in (*USER, *shape.roles) for role in given):
            try:
                roles = shape.find(columns)
            except Ambiguous as error:
                unclear.append(str(error))
                continue
            if roles is not None:
                found[shape.name(columns, roles)] = (shape, roles)
    if len(found) > 1:
        formats = " or ".join(f"'{shape.key}'" for shape, _ in found.values())
        raise DataError(
            f"{file}: the rows can be read as {' or as '.join(found)}. Choose one: --format {formats} "
            "(`format` in a config)."
        )
    if unclear and not found:
        raise DataError(f"{file}: {unclear[0]} (`columns` in a config).")
    for name, (shape, roles) in found.items():
        user = {role: column for role in USER if (column := columns.of(role))}
        if any(has_calls(row.get(column)) for row in rows for column in roles.values()):
            name += ", calls of tools as lines of JSON"
        return Recognised(shape, roles | user, name)
    return None


def missing_roles(rows: Sequence[Fields], given: Mapping[str, str], format: str) -> list[str]:
    """Returns the roles that a file without a known shape lacks. With `AUTO`, those of the shape that is closest."""
    columns = Columns(rows, given)
    try:
        responses = columns.responses()
    except Ambiguous:
        responses = {}
    roles = {*columns.names, *given, *responses, *(("response_a", "response_b") if responses else ())}
    for role, usual in (("prompt", PROMPT), ("winner", WINNER if responses else ()), ("rating", RATING)):
        if any(name in columns.names for name in usual):
            roles.add(role)
    shapes = SHAPES.values() if format == AUTO else [SHAPES[format]]
    alike = roles.union(name.lower() for name in columns.names)
    wanted = max(
        ([role for role in shape.example.split(", ") if role != "prompt"] for shape in shapes),
        key=lambda needed: len(alike.intersection(needed)),
    )
    return [role for role in ("prompt", *wanted) if role not in roles]


def missing_columns(file: str, names: Sequence[str], needed: Sequence[str], format: str = AUTO) -> str:
    """Message about missing columns: which, what was found, and how to name other columns."""
    hints = {role: found[0] for role in needed if (found := column_hints(role, names))}
    example = ",".join(f"{role}={hints.get(role, '...')}" for role in needed or ["prompt"])
    end = f"or name your columns: --columns {example} (`columns` in a config)."
    found_text = f"Found: {', '.join(names)}."
    if format != AUTO and list(needed) != ["user_id"]:
        wanted = SHAPES[format].example
        return f"{file}: the format '{format}' needs the columns {wanted}. {found_text} Rename the columns, {end}"
    text = f"{file}: missing column {', '.join(needed)}. {found_text}"
    if list(needed) == ["user_id"]:
        return (
            f"{text} Add a column user_id, a text or number that is the same in all rows of a person, {end}"
        )
    for column, dataset in PUBLISHED.items():
        if column in names:
            return (
                f"{text} These look like the columns of {dataset}: --format {dataset} (`format` in a config)."
            )
    shapes = "; ".join(shape.example for shape in SHAPES.values())
    return f"{text} Rows need one of these sets of columns: {shapes}. Rename the columns, {end}"


def column_hints(role: str, names: Sequence[str]) -> list[str]:
    """Returns the columns that may be meant for a role, the likeliest first."""
    if role.startswith("response_"):
        return [name for name in names if name.lower().endswith(role.removeprefix("response"))]
    lower = {name.lower(): name for name in names}
    people = [lower[name] for name in PEOPLE if name in lower] if role == "user_id" else []
    others = [
        name for name in lower if not name.startswith(f"{role}_") and (name not in WINNER or role == "winner")
    ]
    return [*people, *(lower[name] for name in difflib.get_close_matches(role, others, n=1, cutoff=0.6))]


def mistyped(column: str) -> str:
    """Returns the column of a pair that an ignored column probably means, or `""`."""
    near = difflib.get_close_matches(column.lower(), (*USER, "messages", *PAIRS.roles), n=1, cutoff=0.8)
    return near[0] if near and near[0] != column and not column.lower().startswith(f"{near[0]}_") else ""


def _base(role: str) -> str:
    """Returns `response_*` for `response_a`, and other roles unchanged."""
    start, _, end = role.partition("_")
    return f"{start}_*" if start in ("response", "rating") and 0 < len(end) <= 2 else role
