"""The sample of real people that comes with the package: `sample:NAME` instead of a path.

`fspo_jax/shipped/people/README.md` describes the files, the people who labelled them and the licences.
"""

from __future__ import annotations

from pathlib import Path

from fspo_jax.errors import DataError, did_you_mean

PREFIX = "sample:"
"""Prefix of paths that name a sample."""

_DIRECTORY = Path(__file__).parents[1] / "shipped" / "people"
_EXTENSION = ".jsonl.gz"


def sample_names() -> list[str]:
    """Sorted names of the samples, which may follow `sample:`."""
    return sorted(path.name.removesuffix(_EXTENSION) for path in _DIRECTORY.glob("*" + _EXTENSION))


def resolve_sample(path: str | Path) -> Path:
    """Returns the file that `sample:NAME` stands for; any other path unchanged.

    Raises:
        DataError: No sample has that name.

    Example:
        >>> resolve_sample("sample:polis_en").name
        'polis_en.jsonl.gz'
        >>> resolve_sample("people.csv").name
        'people.csv'
    """
    if not str(path).startswith(PREFIX):
        return Path(path)
    known = [PREFIX + name for name in sample_names()]
    if str(path) not in known:
        raise DataError(
            f"{path}: the package has no sample of that name.{did_you_mean(str(path), known)} "
            f"Known: {', '.join(known)}."
        )
    return _DIRECTORY / (str(path).removeprefix(PREFIX) + _EXTENSION)
