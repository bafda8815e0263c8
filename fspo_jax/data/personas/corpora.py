"""What personas over texts that exist share: the rows of a file, cohorts, and norms."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fspo_jax.config import CandidateSource, TraitSource
from fspo_jax.data.personas.sampling import assign_splits
from fspo_jax.data.readers import read_file
from fspo_jax.errors import DataError, FspoError, did_you_mean
from fspo_jax.types import check_text


def read_rows(path: str, columns: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of a file with where they stand; raises `DataError` for the first that is not of the format."""
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


def checked(text: Any, place: str, name: str) -> str:
    try:
        return check_text(text, name)
    except FspoError as error:
        raise DataError(f"{place}: {error}") from None


def cohorts(
    source: TraitSource | CandidateSource, fractions: tuple[float, float, int], wanted: int
) -> Iterator[tuple[int, range]]:
    """The cohorts of a split, each with the numbers of its personas; cohorts of one where none are asked for."""
    size = source.cohort or 1
    if source.personas % size:
        raise DataError(
            f"{source.name}: {source.personas} personas are not cohorts of {size}; take a multiple."
        )
    place = assign_splits(source.personas // size, *fractions, f"{source.name} personas")
    for cohort in np.flatnonzero(place == wanted).tolist():
        yield cohort, range(cohort * size, (cohort + 1) * size)


def read_norms(path: str, known: Collection[str], corpus: str) -> dict[str, float]:
    """Numbers by the names of things in a corpus."""
    try:
        norms = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from None
    for name, value in norms.items():
        if name not in known:
            quotes = " Names with a point stand in quotes." if isinstance(value, dict) else ""
            raise DataError(f"{path}: '{name}' is not in {corpus}.{did_you_mean(name, known)}{quotes}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"{path}: '{name}' must be a finite number, not {value!r:.60}.")
    return norms
