"""The named data sets."""

from __future__ import annotations

from collections.abc import Iterable

from fspo_jax.data.datasets import people, synthetic
from fspo_jax.data.datasets.published import Dataset, Files
from fspo_jax.data.readers import RawRow
from fspo_jax.data.rows.fields import BadRow
from fspo_jax.data.rows.recognise import AUTO, SHAPES
from fspo_jax.data.rows.shape import Label, Labels, checked
from fspo_jax.errors import DataError, did_you_mean

DATASETS = {
    dataset.name: dataset
    for dataset in (
        synthetic.FSPO_REVIEWS,
        synthetic.FSPO_ELIX,
        synthetic.FSPO_ROLEPLAY,
        people.PRISM,
        people.PRISM_RATINGS,
        people.COMMUNITY_ALIGNMENT,
        synthetic.PERSONAL_REWARD_BENCH,
        synthetic.FAIR_PP,
        synthetic.WIKI_PERSONAS,
        synthetic.PERSONAL_LLM,
        synthetic.UF_P_2,
        synthetic.UF_P_4,
        synthetic.PETS,
        people.TLDR,
        people.DICES,
        people.OPINION_QA,
        people.GLOBAL_OPINION_QA,
        people.POLIS,
    )
}
"""By name."""


def named_dataset(name: str) -> Dataset:
    """The data set of a name; raises `DataError` with the known names."""
    if name not in DATASETS:
        known = (AUTO, *SHAPES, *DATASETS)
        raise DataError(
            f"no format or data set is named {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )
    return DATASETS[name]


def dataset_labels(name: str, files: Iterable[tuple[str, Iterable[RawRow]]]) -> Labels:
    """Labels of a named data set, with their file; a bad row comes with its problem.

    Args:
        name: Of the data set.
        files: As published, from `locations.open_location`.

    Raises:
        DataError: The name is unknown, or the files are not of the published schema (the column is named).
    """
    for file, found in named_dataset(name).convert(Files(name, files)):
        if isinstance(found, Label):
            try:
                found = checked(found)
            except BadRow as bad:
                found = RawRow(found.line, found.raw or found._asdict(), None, (bad.kind, str(bad)))
        yield file, found
