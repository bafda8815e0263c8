"""JSON and JSONL of the command line to values: preference pairs, candidates, prompts."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from fspo_jax.errors import DataError, did_you_mean, did_you_mean_path
from fspo_jax.types import Preference

_PAIR_KEYS = ("prompt", "messages", "chosen", "rejected", "user_id", "group")


def read_document(path: str, what: str) -> tuple[str, Any]:
    """Reads a JSON or JSONL file, `.gz` or not, or standard input when `path` is `-`.

    Args:
        path: The file, or `-`.
        what: What is expected there, for messages.

    Returns:
        A name for messages, and the JSON value; several lines of JSON give the list of their values.

    Raises:
        DataError: No such file, not UTF-8, empty, or not JSON.
    """
    if path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            print(
                f"fspo: reading {what} from the terminal; end with Ctrl-D on a line of its own.",
                file=sys.stderr,
            )
        name, data = "standard input", sys.stdin.buffer.read() if sys.stdin else b""
    else:
        file = Path(path)
        if not file.is_file():
            kind = "a directory, not a file." if file.is_dir() else f"no such file.{did_you_mean_path(file)}"
            raise DataError(f"{path}: {kind} Expected {what}.")
        name, data = path, file.read_bytes()
        if data[:2] == b"\x1f\x8b":
            try:
                data = gzip.decompress(data)
            except (EOFError, OSError) as error:
                raise DataError(f"{path}: damaged gzip file ({error}).") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    if not text.strip():
        raise DataError(f"{name} is empty. Expected {what}.")
    try:
        return name, json.loads(text)
    except (ValueError, RecursionError) as error:
        if not isinstance(error, json.JSONDecodeError) or error.msg != "Extra data":
            raise DataError(f"{name}: not JSON: {error}. Expected {what}.") from None
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{name}:{number}: not JSON: {error}. Expected {what}.") from None
    return name, values


def parse_preferences(value: Any, name: str) -> list[Preference]:
    """Turns JSON rows `{prompt | messages, chosen, rejected}` into preferences.

    Args:
        value: A list of rows, one row, or `{"pairs": [rows]}`. `user_id` and `group` may be there.
        name: How messages call the document.

    Raises:
        DataError: Another shape; a row with a missing, unknown or wrong field.
        LimitError: A text is over-long.
    """
    if isinstance(value, dict):
        value = value["pairs"] if "pairs" in value else [value]
    if not isinstance(value, list):
        raise DataError(
            f"{name}: pairs must be a list of {{prompt, chosen, rejected}} rows, not {value!r:.80}."
        )
    preferences = []
    for number, row in enumerate(value, 1):
        where = f"{name}, pair {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: must be an object with prompt, chosen and rejected, not {row!r:.80}.")
        for key in row:
            if key not in _PAIR_KEYS:
                raise DataError(
                    f"{where}: unknown key '{key}'.{did_you_mean(key, _PAIR_KEYS)} Known: {', '.join(_PAIR_KEYS)}."
                )
        prompt = row.get("prompt", row.get("messages"))
        fields: dict[str, Any] = {
            "prompt": prompt,
            "chosen": row.get("chosen"),
            "rejected": row.get("rejected"),
        }
        for key, field in fields.items():
            if field is None:
                raise DataError(f"{where}: '{key}' is missing. A pair needs prompt, chosen and rejected.")
        try:
            preferences.append(Preference(**fields))
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    users = {row["user_id"] for row in value if isinstance(row.get("user_id"), str)}
    if len(users) > 1:
        raise DataError(
            f"{name}: the pairs are of {len(users)} users; one user at a time can be adapted to. Keep the rows of one."
        )
    return preferences


def parse_candidates(value: Any, name: str) -> list[str]:
    """Turns a JSON list of strings, or of objects with a `text`, into candidate texts; raises `DataError`."""
    if isinstance(value, dict) and "candidates" in value:
        value = value["candidates"]
    if isinstance(value, str | dict):
        value = [value]
    if not isinstance(value, list):
        raise DataError(f"{name}: candidates must be a list of strings, not {value!r:.80}.")
    candidates = []
    for number, item in enumerate(value):
        text = item.get("text") if isinstance(item, dict) else item
        if not isinstance(text, str):
            raise DataError(
                f"{name}: candidates[{number}] must be a string or have a 'text', not {item!r:.80}."
            )
        candidates.append(text)
    return candidates
