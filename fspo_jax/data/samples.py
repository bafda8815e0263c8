"""The sample of real people that comes with the package: `sample:NAME` instead of a path.

What the files hold, who labelled them and under which licence is in `fspo_jax/shipped/people/README.md`.
"""

from __future__ import annotations

from pathlib import Path

from fspo_jax.errors import DataError, did_you_mean

PREFIX = "sample:"
"""What a path begins with that names people of the package."""

_DIRECTORY = Path(__file__).parents[1] / "shipped" / "people"
_EXTENSION = ".jsonl.gz"


def sample_names() -> list[str]:
    """Names of the samples, sorted: what may follow `sample:`."""
    return sorted(path.name.removesuffix(_EXTENSION) for path in _DIRECTORY.glob("*" + _EXTENSION))


def resolve_sample(path: str | Path) -> Path:
    """The file behind `sample:NAME`; any other path as it is.

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
