"""The published data sets that can be loaded by name."""

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
"""Published data sets by name."""


def named_dataset(name: str) -> Dataset:
    """Returns the data set with that name; raises `DataError` with the known names."""
    if name not in DATASETS:
        known = (AUTO, *SHAPES, *DATASETS)
        raise DataError(
            f"there is no format or data set {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
        )
    return DATASETS[name]


def dataset_labels(name: str, files: Iterable[tuple[str, Iterable[RawRow]]]) -> Labels:
    """Yields the labels of a published data set with their files. A bad row comes with its problem.

    Args:
        name: Name of the data set.
        files: Its files as published, from `locations.open_location`.

    Raises:
        DataError: The name is unknown, a column of the published data set is missing, or a row on which others depend
            is bad, such as a question of a survey.
    """
    read = Files(name, files)
    try:
        for file, found in named_dataset(name).convert(read):
            if isinstance(found, Label):
                try:
                    found = checked(found)
                except BadRow as bad:
                    found = RawRow(found.line, found.raw or found._asdict(), None, (bad.kind, str(bad)))
            yield file, found
    except BadRow as bad:
        raise DataError(f"{read.place}: {bad.kind}: {bad}. Correct the row, or remove it.") from None
