"""Warns about people that a reward already knows, because figures about them do not hold for new people."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fspo_jax.config import DataConfig, PreferenceSource
from fspo_jax.data.build import load_split
from fspo_jax.data.samples import resolve_sample
from fspo_jax.data.sources import source_name
from fspo_jax.errors import FspoError, counted
from fspo_jax.models.features.text_effects import TextEffects
from fspo_jax.reward import PersonalizedReward
from fspo_jax.types import User

CONSEQUENCE = "What is measured on them says little about people the reward has not seen."


def training_overlap(data: DataConfig, users: Sequence[User]) -> tuple[str, ...]:
    """Returns warnings if users are among the people that a reward was trained on.

    If the training data can be read, a person is recognised by their id and a pair. Otherwise the warning is about a
    source with the same name as a training source.

    Args:
        data: The data config of the reward's meta-training.
        users: The people to measure or calibrate on.
    """
    given = {user.source for user in users}
    found = []
    for source in data.sources:
        name = source.name or (source_name(source.path) if isinstance(source, PreferenceSource) else "")
        trained = _trained_on(data, source) if isinstance(source, PreferenceSource) else None
        if trained is not None:
            known = sum(any((user.user_id, pair) in trained for pair in user.preferences) for user in users)
            if known:
                people = counted(known, "person is", "people are")
                found.append(
                    f"{people} among the training data of this reward (source '{name}'). {CONSEQUENCE}"
                )
        elif name in given and isinstance(source, PreferenceSource):
            found.append(
                f"this reward was trained on people of '{name}', so some of these people may be among them (its "
                f"training data, {source.path}, is not here to compare). {CONSEQUENCE}"
            )
    return tuple(found)


def community_overlap(reward: PersonalizedReward, users: Sequence[User]) -> tuple[str, ...]:
    """Returns a warning if users may be among the people of the community that a reward knows.

    A community keeps keyed hashes of texts and nothing of a person, so a person is suspected if all of the person's
    texts are known. In a survey that is everybody.

    Args:
        reward: The reward.
        users: The people to measure or calibrate on.
    """
    known = getattr(reward.scoring, "community", None)
    if not known:
        return ()
    effects = TextEffects(**known["texts"])

    def suspected(user: User) -> bool:
        texts = [text for pair in user.preferences for text in (pair.chosen, pair.rejected)]
        return bool(texts) and bool(np.isin(effects.hashed(texts), effects.keys).all())

    count = sum(map(suspected, users))
    if not count:
        return ()
    return (
        f"the community of this reward has labelled all texts of {counted(count, 'person', 'people')}. If they are in "
        f"it, measure on others. {CONSEQUENCE}",
    )


def _trained_on(data: DataConfig, source: PreferenceSource) -> set[tuple[str, object]] | None:
    """Returns the ids and pairs of the train split of a source, or None if it cannot be read."""
    try:
        if not Path(resolve_sample(source.path)).exists():
            return None
        users = load_split(dataclasses.replace(data, sources=(source,)), "train")
    except FspoError:
        return None
    return {(user.user_id, pair) for user in users for pair in user.preferences}
