"""Loads, splits and names the users of all sources of a `DataConfig`."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fspo_jax.config import CandidateSource, DataConfig, PersonaSource, PreferenceSource, TraitSource
from fspo_jax.data.locations import REJECTS_EXTENSION
from fspo_jax.data.sources import load_users, source_name
from fspo_jax.data.splits import SPLITS, Split, split_users
from fspo_jax.errors import ConfigError, DataError, did_you_mean, errors_in
from fspo_jax.types import User

_log = logging.getLogger(__name__)

Source = PersonaSource | TraitSource | CandidateSource | PreferenceSource


def load_split(
    config: DataConfig, split: Split, *, rejects_directory: str | Path | None = None
) -> list[User]:
    """Loads the users of one split of all sources; see `load_splits`."""
    return load_splits(config, (split,), rejects_directory=rejects_directory)[split]


def load_splits(
    config: DataConfig, splits: Sequence[Split], *, rejects_directory: str | Path | None = None
) -> dict[str, list[User]]:
    """Loads the users of splits of all sources, in the order of the config. Files are read once.

    Each source is split by itself, by the user's id within the source, so that adding a source does not change the
    split of another. If the config has several sources, the source's name is put before the id (`polis_en/3f2a`), in
    all splits. Relative paths in the config are relative to the current directory.

    Bad rows of a `PreferenceSource` are set aside. The logger `fspo_jax.data.build` says how the rows were read and
    warns about bad rows, with counts by reason. Users with a single preference are kept, for zero shots.

    Args:
        config: The sources and the fractions of the splits.
        splits: Some of `"train"`, `"validation"` and `"test"`.
        rejects_directory: Where to write bad rows, one file `<source>.rejects.jsonl` per preference source. By default
            they are only counted.

    Raises:
        ConfigError: Two sources have the same name, or there is no such split.
        DataError: A source cannot be read or has no user, or a split has no user.
    """
    for split in splits:
        if split not in SPLITS:
            known = ", ".join(SPLITS)
            raise ConfigError(f"split is {split!r}.{did_you_mean(str(split), SPLITS)} Known: {known}.")
    names = [_name(source) for source in config.sources]
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(
                f"{count} sources are named '{name}', so their users could be confused. Give each a `name`."
            )
    users: dict[str, list[User]] = {split: [] for split in splits}
    for number, (source, name) in enumerate(zip(config.sources, names, strict=True)):
        with errors_in(f"'data.sources.{number}'"):
            loaded = _load_source(source, name, splits, config, rejects_directory)
        for split, found in loaded.items():
            for user in found:
                user_id = f"{name}/{user.user_id}" if len(names) > 1 else user.user_id
                users[split].append(dataclasses.replace(user, user_id=user_id, source=user.source or name))
    for split, found in users.items():
        if not found:
            raise DataError(
                f"there is no user in the {split} split of {', '.join(names)} (validation_fraction "
                f"{config.validation_fraction}, test_fraction {config.test_fraction}). Add users or raise the "
                "fraction."
            )
        (user_id, count), *_ = Counter(user.user_id for user in found).most_common(1)
        if count > 1:
            raise DataError(f"two users have the id '{user_id}'. Ids must be unique within a source.")
    return users


def _name(source: Source) -> str:
    """The name of a source in reports, ids and file names."""
    return source.name or source_name(source.path) if isinstance(source, PreferenceSource) else source.name


def _load_source(
    source: Source,
    name: str,
    splits: Sequence[Split],
    config: DataConfig,
    rejects_directory: str | Path | None,
) -> dict[Split, list[User]]:
    fractions = {
        "validation_fraction": config.validation_fraction,
        "test_fraction": config.test_fraction,
        "split_seed": config.split_seed,
    }
    if isinstance(source, PersonaSource):
        from fspo_jax.data.personas.world import world_users

        return {split: world_users(source, split, **fractions) for split in splits}
    if isinstance(source, TraitSource):
        from fspo_jax.data.personas.traits import trait_users

        return {split: trait_users(source, split, **fractions) for split in splits}
    if isinstance(source, CandidateSource):
        from fspo_jax.data.personas.candidates import candidate_users

        return {split: candidate_users(source, split, **fractions) for split in splits}
    parts = split_users(_load_people(source, name, rejects_directory), **fractions)
    return {split: parts[split] for split in splits}


def _load_people(
    source: PreferenceSource, name: str, rejects_directory: str | Path | None
) -> tuple[User, ...]:
    rejects = None
    if rejects_directory is not None:
        rejects = Path(rejects_directory) / (name.replace("/", "_") + REJECTS_EXTENSION)
    loaded = load_users(
        source.path,
        format=source.format,
        columns=source.columns,
        source=name,
        strict=source.strict,
        rejects=rejects,
    )
    if loaded.rejects:
        _log.warning("%s: %s%s", source.path, loaded.summary(), f", written to {rejects}" if rejects else "")
    else:
        _log.info("%s: %s", source.path, loaded.summary())
    if not loaded.users:
        first = (
            f" The first, line {loaded.rejects[0].line}: {loaded.rejects[0].reason}."
            if loaded.rejects
            else ""
        )
        raise DataError(f"{source.path}: no row can be used: {loaded.summary()}.{first}")
    return loaded.users
