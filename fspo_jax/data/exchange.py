"""Writes users as a Hugging Face data set, one parquet file per split, and reads them back without loss."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fspo_jax.arguments import check_path
from fspo_jax.errors import DataError
from fspo_jax.private_files import make_directory, why_not_written
from fspo_jax.types import CandidateSet, Preference, Prompt, User, check_prompt

COLUMNS = {
    "user_id": "string, unique within `source`",
    "source": "string, name of the study or world that the user comes from",
    "group": "string, group of the user in reports, or empty",
    "description": "string, what a persona likes, or empty; no scorer of features reads it",
    "kind": "`preference` (a labelled pair) or `candidates` (a set with the user's true utilities)",
    "prompt": "string; a conversation is a JSON list of {role, content} and `conversation` is true",
    "conversation": "bool",
    "chosen": "string, the preferred response; null for candidate sets",
    "rejected": "string, the other response; null for candidate sets",
    "candidates": "list of strings; null for preferences",
    "utilities": "list of float64 in nats, one per candidate; null for preferences",
}
"""Columns and their meaning. The rows of a user follow each other, in order."""


def check_new_directory(path: str | Path) -> Path:
    """Returns the path of a directory to write; raises `DataError` unless it is new or empty, and can be written."""
    directory = check_path(path, error=DataError)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise DataError(
            f"{directory} already exists and is not an empty directory. Choose another one, or remove it first."
        )
    if why := why_not_written(directory):
        raise DataError(f"{directory} cannot be written, because {why}. Choose another directory.")
    return directory


def export_users(splits: Mapping[str, Sequence[User]], directory: str | Path, *, card: str = "") -> None:
    """Writes `<split>.parquet` for each split, and `README.md` with `card` and the columns: all of it or nothing.

    Args:
        splits: Users by split name.
        directory: A new or empty directory.
        card: Markdown put before the columns.

    Raises:
        DataError: The directory is not empty or cannot be written.
    """
    from datasets import Dataset, Features, List, Value

    directory = check_new_directory(directory)
    features = Features(
        {name: Value("string") for name in COLUMNS}
        | {
            "conversation": Value("bool"),
            "candidates": List(Value("string")),
            "utilities": List(Value("float64")),
        }
    )
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.tmp")
    try:
        make_directory(temporary)
        for name, users in splits.items():
            rows = [row for user in users for row in _to_rows(user)]
            with _no_bars():
                Dataset.from_list(rows, features=features).to_parquet(str(temporary / f"{name}.parquet"))
        columns = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in COLUMNS.items())
        text = f"{card}\n## Columns\n\n| column | meaning |\n| --- | --- |\n{columns}\n"
        (temporary / "README.md").write_text(text, encoding="utf-8")
        if directory.exists():
            directory.rmdir()
        os.replace(temporary, directory)
    except OSError as error:
        raise DataError(f"{directory} cannot be written: {error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_exported(directory: str | Path) -> bool:
    """Whether `export_users` wrote the directory, which shows in its `README.md`."""
    card = Path(directory) / "README.md"
    try:
        text = card.read_text("utf-8", "replace")
    except (OSError, ValueError):
        return False
    return all(f"| `{name}` |" in text for name in COLUMNS)


def import_users(directory: str | Path) -> dict[str, list[User]]:
    """Reads a directory that `export_users` wrote.

    Raises:
        DataError: There is no parquet file, a column is missing, or a row has a wrong value.
    """
    from datasets import Dataset

    files = sorted(check_path(directory, error=DataError).glob("*.parquet"))
    if not files:
        raise DataError(f"{directory} has no parquet file. Give a directory that 'fspo data make' wrote.")
    splits = {}
    for path in files:
        try:
            with _no_bars():
                data = Dataset.from_parquet(str(path))
        except Exception as error:  # pyarrow and datasets raise many kinds for damaged files
            raise DataError(f"{path} cannot be read: {error}") from error
        missing = [name for name in COLUMNS if name not in data.column_names]
        if missing:
            raise DataError(f"{path}: columns {missing} are missing; found {data.column_names}.")
        splits[path.stem] = _from_rows(path, data.to_list())
    return splits


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Turns the progress bars of `datasets` off."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def _to_rows(user: User) -> list[dict[str, Any]]:
    def row(prompt: Prompt, kind: str, **values: Any) -> dict[str, Any]:
        text = (
            prompt
            if isinstance(prompt, str)
            else json.dumps([m._asdict() for m in prompt], ensure_ascii=False)
        )
        who = {
            "user_id": user.user_id,
            "source": user.source,
            "group": user.group,
            "description": user.description,
        }
        return (
            dict.fromkeys(COLUMNS)
            | who
            | {
                "kind": kind,
                "prompt": text,
                "conversation": not isinstance(prompt, str),
            }
            | values
        )

    pairs = [row(p.prompt, "preference", chosen=p.chosen, rejected=p.rejected) for p in user.preferences]
    sets = [
        row(s.prompt, "candidates", candidates=list(s.candidates), utilities=list(s.utilities))
        for s in user.candidate_sets
    ]
    return pairs + sets


def _from_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[User]:
    found: dict[tuple[str, str, str, str], tuple[list[Preference], list[CandidateSet]]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            key = (row["user_id"], row["source"], row["group"], row["description"])
            preferences, sets = found.setdefault(key, ([], []))
            prompt = check_prompt(json.loads(row["prompt"]) if row["conversation"] else row["prompt"])
            if row["kind"] == "preference":
                preferences.append(Preference(prompt, row["chosen"], row["rejected"]))
            elif row["kind"] == "candidates" and len(row["candidates"]) == len(row["utilities"]):
                sets.append(CandidateSet(prompt, tuple(row["candidates"]), tuple(row["utilities"])))
            else:
                raise DataError(f"kind {row['kind']!r} is unknown, or its values do not belong to it")
        except (DataError, ValueError, TypeError) as error:
            raise DataError(f"{path}, row {number}: {error}") from error
    return [
        User(user_id, tuple(preferences), source, group, tuple(sets), description)
        for (user_id, source, group, description), (preferences, sets) in found.items()
    ]
