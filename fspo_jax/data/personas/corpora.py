"""Shared by the personas over existing texts: reading rows and norms from files, and numbering cohorts."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.arguments import check_text, shown
from fspo_jax.config import CandidateSource, TraitSource
from fspo_jax.data.personas.sampling import assign_splits
from fspo_jax.data.readers import read_file
from fspo_jax.errors import DataError, FspoError, did_you_mean


def read_rows(path: str, columns: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields each row of a file with its place, `path:line`.

    Args:
        path: A jsonl, csv or parquet file.
        columns: Required columns with the type of their values.

    Raises:
        DataError: No such file, or a row lacks a column or has a value of another type.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file.")
    for row in read_file(Path(path)):
        place = f"{path}:{row.line}"
        if row.problem or row.fields is None:
            raise DataError(f"{place}: {row.problem[1] if row.problem else 'cannot be read'}.")
        for name, kind in columns.items():
            if name not in row.fields:
                raise DataError(f"{place}: column '{name}' is missing; found {', '.join(row.fields)}.")
            if not isinstance(row.fields[name], kind):
                raise DataError(f"{place}: '{name}' must be {kind.__name__}, not {row.fields[name]!r:.60}.")
        yield place, dict(row.fields)


def checked_text(text: Any, place: str, name: str) -> str:
    """Returns a text that may be part of a preference; raises `DataError` with its place."""
    try:
        return check_text(text, name)
    except FspoError as error:
        raise DataError(f"{place}: {error}") from None


def cohorts(
    source: TraitSource | CandidateSource, fractions: tuple[float, float, int], wanted: int
) -> Iterator[tuple[int, range]]:
    """Yields the cohorts of a split: the number of each cohort and the numbers of its personas.

    A cohort is a set of personas who judge the same few things, so that they share texts as real people do. Without
    `source.cohort` every persona is a cohort of one.

    Args:
        source: The number of personas, and the size of a cohort.
        fractions: Validation fraction, test fraction and seed of the split.
        wanted: The index of the split in `SPLITS`.

    Raises:
        DataError: The personas cannot be divided into cohorts of that size.
    """
    size = source.cohort or 1
    if source.personas % size:
        raise DataError(
            f"{source.name}: {source.personas} personas cannot be divided into cohorts of {size}. Set 'personas' to a "
            "multiple of 'cohort'."
        )
    splits = assign_splits(source.personas // size, *fractions, f"{source.name} personas")
    for cohort in np.flatnonzero(splits == wanted).tolist():
        yield cohort, range(cohort * size, (cohort + 1) * size)


def read_norms(path: str, known: Collection[str], corpus: str) -> dict[str, float]:
    """Reads a TOML file with one number per name, such as how well people like each model on average.

    Args:
        path: The TOML file.
        known: Names that occur in the corpus.
        corpus: Path of the corpus, for messages.

    Raises:
        DataError: The file cannot be read, a name is not in the corpus, or a value is not a finite number.
    """
    try:
        norms = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    for name, value in norms.items():
        if name not in known:
            quotes = " Put names that contain a dot in quotes." if isinstance(value, dict) else ""
            raise DataError(f"{path}: '{name}' is not in {corpus}.{did_you_mean(name, known)}{quotes}")
        if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
            raise DataError(f"{path}: '{name}' must be a finite number, not {shown(value)}.")
    return norms
