"""The named data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fspo_jax.data.datasets import people, synthetic
from fspo_jax.data.datasets.schema import Dataset, Files, Label
from fspo_jax.data.readers import RawRow, open_source
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
        raise DataError(
            f"no data set is named {name!r}.{did_you_mean(name, DATASETS)} Known: {', '.join(DATASETS)}."
        )
    return DATASETS[name]


def dataset_rows(name: str, path: str | Path) -> Iterator[tuple[str, RawRow]]:
    """Rows `{user_id, prompt or messages, chosen, rejected, group, description}` of a named data set, with their file.

    Args:
        name: Of the data set.
        path: As for `load_users`: files as published, or the `datasets` id.

    Raises:
        DataError: The name is unknown, or the files are not of the published schema (the column is named).
    """
    dataset = named_dataset(name)
    files, _ = open_source(path)
    for file, found in dataset.convert(Files(name, files)):
        yield file, _standard(found) if isinstance(found, Label) else found


def _standard(label: Label) -> RawRow:
    prompt = {"prompt": label.prompt} if isinstance(label.prompt, str) else {"messages": label.prompt}
    fields = {"user_id": label.user_id, **prompt, "chosen": label.chosen, "rejected": label.rejected}
    user_fields = {"group": label.group, "description": label.description}
    return RawRow(label.line, fields, fields | {name: value for name, value in user_fields.items() if value})
