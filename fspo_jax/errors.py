"""Errors of the public API. Each says what was given, what is allowed and what to do."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

MOST_CHARACTERS = 8_000
"""Longer messages are cut in the middle, but first their longest words, such as paths, so that the reason is kept."""

LONG_WORD = re.compile(r"(\S{100})\S{100,}(\S{100})")


class FspoError(Exception):
    """Base of every error that `fspo_jax` raises on purpose. Its message can be printed, whatever it quotes."""

    def __init__(self, message: str = ""):
        if len(message) > MOST_CHARACTERS:
            message = LONG_WORD.sub(r"\1 ... \2", message)
        if len(message) > MOST_CHARACTERS:
            message = f"{message[: MOST_CHARACTERS // 2]} ... {message[-MOST_CHARACTERS // 2 :]}"
        super().__init__(message.encode(errors="backslashreplace").decode())


class ConfigError(FspoError):
    """A config file or override has an unknown, missing or mistyped key or value."""


class DataError(FspoError):
    """A preference, a row or a data file cannot be used as it is."""


class LimitError(FspoError):
    """An input is larger than the limit that a text, a model or a checkpoint has."""


class EncoderError(FspoError):
    """A text encoder's weights are missing, damaged or of an unsupported family."""


class CheckpointError(FspoError):
    """A path is not a checkpoint, or belongs to another version or another base model."""


class TrainingError(FspoError):
    """Meta-training cannot go on, for example because the loss is not finite."""


class TrainingInterrupted(FspoError):
    """A signal stopped meta-training; a checkpoint was saved and the run can be resumed.

    Attributes:
        signal: Its number; shells expect the exit status 128 + signal.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = int(signal)


@contextlib.contextmanager
def errors_in(where: str) -> Iterator[None]:
    """Puts `where`, such as a config file or a key, before the message of a `ConfigError` or `DataError`.

    Example:
        >>> with errors_in("mine.toml"):
        ...     raise ConfigError("missing key 'seed'.")
        Traceback (most recent call last):
        fspo_jax.errors.ConfigError: mine.toml: missing key 'seed'.
    """
    try:
        yield
    except (ConfigError, DataError) as error:
        raise type(error)(f"{where}: {error}") from error


def counted(count: int, noun: str, plural: str = "") -> str:
    """Returns a count with its noun, for messages: `1 row`, `8,600 rows`; `plural` for irregular nouns.

    Example:
        >>> counted(1, "row"), counted(8600, "row"), counted(2, "person", "people")
        ('1 row', '8,600 rows', '2 people')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def how_to_install(extra: str) -> str:
    """Returns the sentence that says how an extra of this package is installed.

    Example:
        >>> how_to_install("mcp")
        "In a clone of fspo_jax, install the extra: pip install --constraint constraints/packages.txt '.[mcp]'."
    """
    return (
        "In a clone of fspo_jax, install the extra: pip install --constraint constraints/packages.txt "
        f"'.[{extra}]'."
    )


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Returns ' Did you mean ...?' for the closest known name, or '' when none is close."""
    close = difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def did_you_mean_path(path: str | Path) -> str:
    """Returns ' Did you mean ...?' for the sibling whose name is closest to a path that does not exist, or ''."""
    path = Path(path)
    try:
        names = [] if path.exists() else [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f" Did you mean '{path.with_name(close[0])}'?" if close else ""
