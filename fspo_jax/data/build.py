"""The users of a `DataConfig`: every source loaded, split and named."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from pathlib import Path

from fspo_jax.config import CandidateSource, DataConfig, PersonaSource, PreferenceSource, TraitSource
from fspo_jax.data.readers import REJECTS_EXTENSION
from fspo_jax.data.sources import load_users, source_name
from fspo_jax.data.splits import SPLITS, Split, split_users
from fspo_jax.errors import ConfigError, DataError, did_you_mean
from fspo_jax.types import User

_log = logging.getLogger(__name__)

Source = PersonaSource | TraitSource | CandidateSource | PreferenceSource


def load_split(
    config: DataConfig, split: Split, *, rejects_directory: str | Path | None = None
) -> list[User]:
    """Loads the users of one split of all sources, in the order of the config.

    Each source is split on its own, by the user's id within the source, so that adding a source changes no
    other source's split. Where the config has more than one source, ids are prefixed with the source's name
    (`polis_en/3f2a`): in all splits, so a user's id never depends on the split. Relative paths in the config
    are relative to the current directory.

    Bad rows of a `PreferenceSource` are set aside; a warning of the logger `fspo_jax.data.build` gives the
    counts by reason. Real users with one preference are kept; they serve at zero shots only.

    Args:
        config: The sources and the fractions of the splits.
        split: `"train"`, `"validation"` or `"test"`.
        rejects_directory: Where to write bad rows, one `<source>.rejects.jsonl` a preference source; by
            default they are only counted.

    Raises:
        ConfigError: Two sources have one name, or `split` is none of the three.
        DataError: A source cannot be read or has no user at all, or no source has a user in the split.
    """
    if split not in SPLITS:
        known = ", ".join(SPLITS)
        raise ConfigError(f"split is {split!r}.{did_you_mean(str(split), SPLITS)} Known: {known}.")
    names = [_name(source) for source in config.sources]
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(
                f"{count} sources are named '{name}', so their users could be confused. Give each a `name`."
            )
    users: list[User] = []
    for source, name in zip(config.sources, names, strict=True):
        for user in _load_source(source, name, split, config, rejects_directory):
            user_id = f"{name}/{user.user_id}" if len(names) > 1 else user.user_id
            users.append(dataclasses.replace(user, user_id=user_id, source=user.source or name))
    if not users:
        raise DataError(
            f"no user is in the {split} split of {', '.join(names)} (validation_fraction "
            f"{config.validation_fraction}, test_fraction {config.test_fraction}). Add users or raise the "
            "fraction."
        )
    twice = [user_id for user_id, count in Counter(user.user_id for user in users).items() if count > 1]
    if twice:
        raise DataError(f"two users have the id '{twice[0]}'. Ids must be unique within a source.")
    return users


def _name(source: Source) -> str:
    """Name of a source in reports, ids and file names."""
    return source.name or source_name(source.path) if isinstance(source, PreferenceSource) else source.name


def _load_source(
    source: Source, name: str, split: Split, config: DataConfig, rejects_directory: str | Path | None
) -> list[User]:
    fractions = {
        "validation_fraction": config.validation_fraction,
        "test_fraction": config.test_fraction,
        "split_seed": config.split_seed,
    }
    if isinstance(source, PersonaSource):
        from fspo_jax.data.personas.world import world_users

        return world_users(source, split, **fractions)
    if isinstance(source, TraitSource):
        from fspo_jax.data.personas.traits import trait_users

        return trait_users(source, split, **fractions)
    if isinstance(source, CandidateSource):
        from fspo_jax.data.personas.candidates import candidate_users

        return candidate_users(source, split, **fractions)
    rejects = (
        None
        if rejects_directory is None
        else Path(rejects_directory) / (name.replace("/", "_") + REJECTS_EXTENSION)
    )
    loaded = load_users(source.path, format=source.format, source=name, strict=source.strict, rejects=rejects)
    if loaded.rejects:
        _log.warning("%s: %s%s", source.path, loaded.summary(), f" into {rejects}" if rejects else "")
    if not loaded.users:
        first = loaded.rejects[0]
        raise DataError(
            f"{source.path}: no usable row: {loaded.summary()}. The first, line {first.line}: {first.reason}."
        )
    return split_users(loaded.users, **fractions)[split]
