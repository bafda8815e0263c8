"""Rows with ratings of responses: several responses per row, or one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fspo_jax.data.rows.fields import (
    BadRow,
    Fields,
    checked_text,
    number,
    present,
    prompt,
    response,
    response_text,
)
from fspo_jax.data.rows.shape import Columns, FileRows, Label, Labels, Roles, Shape, fields_of, user_fields
from fspo_jax.types import Prompt

RATING = ("rating", "score")
"""Names of a column of ratings, alone or with the suffix of its response."""

RATED = ("response", "completion", "answer", "output")
"""Names of the column of responses in rows with one response."""

LISTS = ("responses", "completions", "answers", "outputs")
"""Names of a column whose cells are lists of responses with their ratings."""

_KEYS = {"text": (*RATED, "text", "content"), "rating": (*RATING, "overall_score")}
"""Names of the text and the rating of a response in such a list."""


def _find(columns: Columns) -> Roles | None:
    prompt = columns.prompt()
    if not prompt:
        return None
    if (column := columns.of("responses", LISTS)) and all(_in_list(row, column) for row in columns.rows):
        return {"prompt": prompt, "responses": column}
    if columns.of("rating", RATING) and columns.of("response", RATED):
        return {
            "prompt": prompt,
            "response": columns.of("response", RATED),
            "rating": columns.of("rating", RATING),
        }
    responses = columns.responses()
    ratings: Roles = {}
    for role, column in responses.items():
        suffix = role.removeprefix("response_")
        names = [f"{name}_{suffix}" for name in RATING] + [f"{column}_{name}" for name in RATING]
        if rating := columns.of(f"rating_{suffix}", names):
            ratings[f"rating_{suffix}"] = rating
    if len(ratings) < 2:
        return None
    rated = {
        role: column for role, column in responses.items() if role.replace("response", "rating") in ratings
    }
    return {"prompt": prompt} | rated | ratings


def _name(columns: Columns, roles: Roles) -> str:
    read = ", ".join(c for role, c in roles.items() if role not in ("user_id", "group", "description"))
    return f"ratings ({read}), on each rater's own scale"


def _convert(rows: FileRows, roles: Roles) -> Labels:
    """Reads all ratings before it makes pairs, because a rating depends on the other ratings of its rater."""
    from fspo_jax.data.ratings import Rating, preferences_of  # needs numpy

    found: list[Rating] = []
    origin: dict[tuple[str, Prompt, str], tuple[str, int, dict[str, str]]] = {}
    for file, row in rows:
        try:
            fields = fields_of(row)
            user = user_fields(fields, roles)
            asked = prompt(fields, roles["prompt"])
            for text, value in list(_rated(fields, roles)):
                found.append(Rating(user["user_id"], asked, text, value))
                origin[user["user_id"], asked, text] = (file, row.line, user)
        except BadRow as bad:
            yield file, row._replace(problem=(bad.kind, str(bad)))
    for user_id, pair in preferences_of(found):
        file, line, user = origin[user_id, pair.prompt, pair.chosen]
        yield file, Label(line, prompt=pair.prompt, chosen=pair.chosen, rejected=pair.rejected, **user)


def _rated(fields: Fields, roles: Roles) -> Iterator[tuple[str, float]]:
    """Yields the responses of a row with their ratings; raises `BadRow`."""
    if "responses" in roles:
        yield from _rated_in_list(present(fields, roles["responses"]), roles["responses"])
        return
    pairs = [("response", "rating")] if "rating" in roles else [
        (role, role.replace("response", "rating")) for role in roles if role.startswith("response_")
    ]  # fmt: skip
    for of_text, of_rating in pairs:
        text, rating = roles[of_text], roles[of_rating]
        if len(pairs) > 1 and (fields.get(text) in (None, "") or fields.get(rating) in (None, "")):
            continue  # some responses of a row may have no rating
        value = number(fields, rating)
        yield response_text(response(fields, text), text), value


def _in_list(row: Fields, column: str) -> bool:
    """Whether a cell is a list of responses with a text and a rating each; a missing cell may be one."""
    value = row.get(column)
    items = value if isinstance(value, list | tuple) else [value]
    whole = (isinstance(item, Mapping) and _key(item, "text") and _key(item, "rating") for item in items)
    return value is None or all(whole)


def _key(item: Mapping[str, Any], what: str) -> str:
    return next((name for name in _KEYS[what] if name in item), "")


def _rated_in_list(items: Any, column: str) -> Iterator[tuple[str, float]]:
    if not _in_list({column: items}, column):
        raise BadRow("wrong type", f"{column} must be a list of responses, each with a text and a rating")
    for i, item in enumerate(items):
        text, rating = _key(item, "text"), _key(item, "rating")
        if item[text] in (None, "") or item[rating] in (None, ""):
            continue  # some responses may have no rating
        yield checked_text(item[text], f"{column}[{i}].{text}"), number(item, rating)


RATINGS = Shape(
    "ratings",
    "prompt, response, rating",
    ("prompt", "response", "rating", "response_*", "rating_*", "responses"),
    _find,
    _name,
    _convert,
)
