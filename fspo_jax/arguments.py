"""Checks of what callers pass to public functions. An error says what was given and what is wanted."""

from __future__ import annotations

import numbers
import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fspo_jax.errors import DataError, FspoError, LimitError

MAX_TEXT_CHARACTERS = 50_000
"""Largest number of characters of a text. Longer texts raise `LimitError`."""

NO_SEQUENCES = (str, bytes, bytearray, memoryview, Mapping, set, frozenset)


def shown(value: Any) -> str:
    """Returns a short `repr` of any value, however deep or long it is, for messages."""
    try:
        return f"{reprlib.repr(value):.80}"
    except Exception:  # a `repr` of another library
        return f"<{type(value).__name__}>"


def check_sequence(values: Any, name: str, wanted: str) -> list:
    """Returns the elements of an ordered collection, by place.

    Args:
        values: A list, tuple, array or column with one axis, whatever its index, or a generator.
        name: Its name in messages, such as `"candidates"`.
        wanted: What it must be, in messages, such as `"a list of strings"`.

    Raises:
        DataError: It is anything else, such as None, one element, a string, a dict, a set or a table.
    """
    if isinstance(values, list):
        return values
    axes = getattr(values, "ndim", 1)
    if isinstance(values, NO_SEQUENCES) or not hasattr(values, "__iter__") or axes != 1 or _is_record(values):
        kind = type(values).__name__ if axes == 1 else f"an array with {axes} axes"
        hint = ""
        if isinstance(values, set | frozenset | Mapping):
            hint = " Results are returned by position, so the order must be known."
        elif isinstance(values, str) or _is_record(values):
            hint = " Put a single one into a list."
        raise DataError(f"{name} must be {wanted}, not {kind}.{hint}")
    return list(values)


def _is_record(value: Any) -> bool:
    """Whether the value has named fields, such as a `Preference`, a `Message` or a `User`."""
    return hasattr(value, "__dataclass_fields__") or hasattr(value, "_fields")


def check_text(text: Any, name: str) -> str:
    """Returns `text` if it is a string that can be encoded and is not too long.

    Args:
        text: The value to check. Empty strings and control characters are allowed.
        name: Its name in messages, such as `"candidates[3]"`.

    Raises:
        DataError: `text` is not a string, or contains a lone surrogate, which UTF-8 cannot encode.
        LimitError: `text` has more than `MAX_TEXT_CHARACTERS` characters.
    """
    if not isinstance(text, str):
        raise DataError(f"{name} must be a string, not {type(text).__name__}.")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise LimitError(
            f"{name} has {len(text):,} characters; at most {MAX_TEXT_CHARACTERS:,} are allowed. "
            "Shorten it: texts are never cut silently."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{name} has a lone surrogate at character {error.start}, which UTF-8 cannot encode. "
            "Repair the text, e.g. with text.encode('utf-8', 'replace').decode()."
        ) from None
    return text if type(text) is str else str(text)


def check_texts(texts: Any, name: str) -> list[str]:
    """Returns `texts` as a list of strings, in their order; raises as `check_sequence` and `check_text` do."""
    return [
        # Most texts are plain, and need no name.
        text
        if type(text) is str and text.isascii() and len(text) <= MAX_TEXT_CHARACTERS
        else check_text(text, f"{name}[{i}]")
        for i, text in enumerate(check_sequence(texts, name, "a list of strings"))
    ]


def check_integer(value: Any, name: str, least: int, most: int | None = None) -> int:
    """Returns a whole number between `least` and `most`; raises `DataError` for anything else, also for True."""
    number = int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else least - 1
    if number < least or (most is not None and number > most):
        allowed = "a positive integer" if least == 1 else f"an integer of at least {least}"
        at_most = "" if most is None else f", at most {most:,}"
        raise DataError(f"{name} must be {allowed}{at_most}, not {shown(value)}.")
    return number


def check_number(value: Any, name: str, least: float, most: float = float("inf")) -> float:
    """Returns a finite number between `least` and `most`; raises `DataError` for anything else, also for True."""
    try:
        no_number = isinstance(value, bool | str | bytes) or str(getattr(value, "dtype", "")) == "bool"
        number = float("nan") if no_number else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not (least <= number <= most and number < float("inf")):
        allowed = f"at least {least:g}" if most == float("inf") else f"between {least:g} and {most:g}"
        raise DataError(f"{name} must be a number {allowed}, not {shown(value)}.")
    return number


def split_address(address: str) -> SplitResult:
    """Returns the parts of an address that somebody else has written; all are empty if it is none, such as "http://[".

    Example:
        >>> split_address("//localhost:8000").hostname, split_address("//[").hostname
        ('localhost', None)
    """
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def check_path(path: Any, name: str = "path", *, error: type[FspoError] = FspoError) -> Path:
    """Returns a path that the file system can be asked about; there may be nothing.

    Raises:
        FspoError: Of type `error`. It is not a path, or no file can have this name.
    """
    if not isinstance(path, str | os.PathLike):
        raise error(f"{name} must be a path, not {shown(path)}.")
    if path == "":
        raise error(f"{name} is empty. Give the path of a file or directory.")
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as problem:  # ValueError: of NUL and lone surrogates
        raise error(f"{shown(str(path))}: cannot be used as a path ({problem}).") from None
    return Path(path)
