"""Meta-training: from a config to an exported reward."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from fspo_jax.checkpoints import (
    CHECKPOINTS,
    REWARD,
    read_adapters,
    read_featurizer,
    read_reward,
    write_reward,
)
from fspo_jax.config import EncoderConfig, LanguageModelConfig, PopulationConfig, TrainConfig, config_to_dict
from fspo_jax.data.episodes import EpisodeTable, index_items
from fspo_jax.errors import CheckpointError, ConfigError
from fspo_jax.models.encoders.adapters import APPROVAL
from fspo_jax.models.features.featurizer import FeatureFunction, Featurizer
from fspo_jax.models.scorers.contract import Scorer
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.partitioning import make_mesh, replicated
from fspo_jax.processes import on_main
from fspo_jax.training.fit import Progress, interrupted, run_steps
from fspo_jax.training.optimizer import make_optimizer
from fspo_jax.training.run.checkpoints import RunCheckpoints
from fspo_jax.training.run.directory import REJECTS, check_data, has_begun, is_finished, open_run
from fspo_jax.training.run.log import MetricsLog
from fspo_jax.training.run.signals import StopSignal
from fspo_jax.training.state import initial_state
from fspo_jax.training.tasks.head import make_dispatch, make_step
from fspo_jax.training.tasks.head_validation import make_validation
from fspo_jax.types import User


class _UnknownFeatures(NamedTuple):
    dimension: int
    fingerprint: str = ""


POPULATION = "population"
"""Directory inside a run directory of the population baseline, a run directory of its own."""

FROZEN = "frozen"
"""The same of the scorer that was trained on the frozen encoder, before its adapters."""


def train(
    config: TrainConfig,
    run_directory: str | Path,
    *,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    on_encoded: Callable[[int, int], None] | None = None,
) -> Path:
    """Meta-trains the scorer of `config`, and the population baseline if it asks for one.

    Users of the train split give the episodes, users of the validation split select the model; users of the
    test split are not loaded. A run is a function of its config: stopped at any moment and resumed, it ends
    with the same parameters, bit for bit on the same machine.

    Args:
        config: Everything that decides the run.
        run_directory: A new or empty directory, or with `resume` the one of an earlier run.
        resume: Go on from the last checkpoint; a finished run is left as it is.
        on_progress: Called after every dispatch.
        on_encoded: Called while texts become features, with the numbers of items done and of all.

    Returns:
        Directory of the exported reward, for `PersonalizedReward.load`.

    Raises:
        CheckpointError: The directory is not empty (without `resume`), holds no run or one of another config
            or other data (with it), or cannot be written.
        ConfigError: The batch does not divide by the devices, or steps do not divide by the dispatch.
        DataError: Users are missing or have too few pairs.
        TrainingError: The loss is not finite.
        TrainingInterrupted: SIGTERM or Ctrl-C; a checkpoint is saved and the run can be resumed.

    Example:
        >>> config = load_config("configs/quickstart.toml")  # doctest: +SKIP
        >>> reward = PersonalizedReward.load(train(config, "runs/quickstart"))  # doctest: +SKIP
    """
    run = Path(run_directory)
    check_divisible(config)
    if jax.process_count() > 1 and not isinstance(config.scorer, LanguageModelConfig):
        raise ConfigError("scorers of features train in one process; language models in several.")
    on_main(lambda: open_run(run, config, resume=resume))
    runs = [(run, config)]
    if config.population_baseline and not isinstance(config.scorer, PopulationConfig | LanguageModelConfig):
        baseline = dataclasses.replace(
            config, scorer=PopulationConfig(kind="population"), population_baseline=False
        )
        runs.append((run / POPULATION, baseline))
    if not all(is_finished(directory) for directory, _ in runs):
        from fspo_jax.data.build import load_split
        from fspo_jax.models.features.featurizer import featurize

        users = {
            split: load_split(config.data, split, rejects_directory=run / REJECTS)
            for split in ("train", "validation")
        }
        (train_items, train_table), (validation_items, validation_table) = map(index_items, users.values())
        if isinstance(config.scorer, LanguageModelConfig):
            from fspo_jax.training.tasks.language_model import meta_train_language

            return meta_train_language(
                config,
                train_items,
                train_table,
                validation_items,
                validation_table,
                run,
                descriptions=[user.description for user in users["train"]],
                resume=True,  # opened above
                on_progress=on_progress,
            )
        featurizer = encoder_features(config.encoder)
        if config.encoder.adapter_rank:
            if not is_finished(run):
                _train_with_adapters(config, featurizer, users, run, on_progress, on_encoded)
            featurizer = featurizer.adapted(read_adapters(run) or {})
            runs = runs[1:]
        features = (
            featurize(featurizer, [*train_items, *validation_items], on_encoded) if runs else np.empty(0)
        )
        for directory, its_config in runs:
            meta_train(
                its_config,
                make_scorer(its_config.scorer, featurizer.dimension),
                train_table,
                features[: len(train_items)],
                validation_table,
                features[len(train_items) :],
                directory,
                featurizer=featurizer,
                resume=has_begun(directory),  # the first was opened above
                on_progress=on_progress,
            )
    return run / REWARD


def _train_with_adapters(
    config: TrainConfig,
    featurizer: Featurizer,
    users: Mapping[str, Sequence[User]],
    run: Path,
    on_progress: Callable[[Progress], None] | None,
    on_encoded: Callable[[int, int], None] | None,
) -> None:
    """The scorer alone on the encoder as it is, if the config asks for it; then both together."""
    from fspo_jax.models.features.featurizer import featurize
    from fspo_jax.training.tasks.adapters import VALIDATION_USERS, meta_train_encoder

    (train_items, train_table), (items, table) = index_items(users["train"]), index_items(users["validation"])
    start = None
    if config.encoder.frozen_steps:
        frozen = dataclasses.replace(
            config,
            steps=config.encoder.frozen_steps,
            encoder=dataclasses.replace(config.encoder, adapter_rank=0, frozen_steps=0),
            population_baseline=False,
        )
        reward = meta_train(
            frozen,
            make_scorer(frozen.scorer, featurizer.dimension),
            train_table,
            featurize(featurizer, train_items, on_encoded),
            table,
            featurize(featurizer, items, on_encoded),
            run / FROZEN,
            featurizer=featurizer,
            resume=has_begun(run / FROZEN),
            on_progress=on_progress,
        )
        start, _ = read_reward(reward)
    some = np.unique(np.linspace(0, len(users["validation"]) - 1, VALIDATION_USERS).astype(int))
    meta_train_encoder(
        config,
        featurizer,
        train_items,
        train_table,
        *index_items([users["validation"][i] for i in some]),
        run,
        start=start,
        resume=True,  # opened before
        on_progress=on_progress,
    )


def meta_train(
    config: TrainConfig,
    scorer: Scorer,
    train_table: EpisodeTable,
    train_features: np.ndarray,
    validation_table: EpisodeTable,
    validation_features: np.ndarray,
    run_directory: str | Path,
    *,
    featurizer: FeatureFunction | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> Path:
    """The core of `train`: one scorer, on tables and features that are there already. Reads no text.

    Args:
        config: `data` and `encoder` are stored but not read.
        scorer: What `make_scorer(config.scorer, F)` gives.
        train_table: Pairs of the meta-training users.
        train_features: `float32 [N, F]`, one row for every feature row of `train_table`.
        validation_table: Pairs of the meta-validation users, no user of the other table.
        validation_features: `float32 [M, F]`.
        run_directory: As for `train`.
        featurizer: What made the features; its fingerprint and adapters are stored in the exported reward.
        resume: As for `train`.
        on_progress: As for `train`.

    Returns:
        Directory of the exported reward: the checkpoint with the smallest validation log loss.

    Raises:
        FspoError: As `train`.
    """
    run = Path(run_directory)
    check_divisible(config)
    mesh = make_mesh(config.devices)
    if config.episodes.batch_size % mesh.size:
        raise ConfigError(
            f"'episodes.batch_size' ({config.episodes.batch_size}) must divide by the {mesh.size} devices. "
            "Change it, or set 'devices'."
        )
    optimizer = make_optimizer(config.optimizer, config.steps)
    open_run(run, config, resume=resume)
    if is_finished(run):
        return run / REWARD
    check_data(run, train_table, validation_table, train_features.shape[1])

    everywhere = replicated(mesh)
    state = jax.jit(lambda: initial_state(scorer, optimizer, config.seed), out_shardings=everywhere)()
    table, features = jax.device_put((train_table, train_features), everywhere)
    # Compiled once, ahead of time: a call with other shapes or placements would raise, never compile again.
    dispatch = make_dispatch(make_step(config, scorer, optimizer, mesh), config.steps_per_dispatch, mesh)
    dispatch = dispatch.lower(state, table, features).compile()
    validate = make_validation(config, scorer, validation_table, validation_features, mesh)

    with (
        StopSignal() as stop,
        RunCheckpoints(run / CHECKPOINTS, config_to_dict(config), state) as checkpoints,
    ):
        if checkpoints.newest is not None:
            state = jax.device_put(checkpoints.newest, everywhere)
        with MetricsLog(run, int(state.step)) as log:
            run_steps(
                config,
                state,
                lambda state: dispatch(state, table, features),
                validate,
                checkpoints,
                log,
                stop,
                on_progress,
            )
        best, validation = checkpoints.best()
        write_reward(
            run / REWARD,
            best.params,
            config,
            featurizer=featurizer or _UnknownFeatures(train_features.shape[1]),
            adapters=getattr(featurizer, "adapters", None),
            validation=validation,
        )
        if stop.received:  # during the last evaluation or later; `train` may have another run to do
            raise interrupted(stop, config.steps, config, run / REWARD)
    return run / REWARD


def encoder_features(config: EncoderConfig) -> Featurizer:
    """The featurizer of a config, with the frozen adapters that it names.

    Raises:
        CheckpointError: As `read_featurizer`, or there are no adapters.
        ConfigError: The adapters were trained on other weights, or have no approval where the config asks for it.
        EncoderError: The encoder's weights are missing.
    """
    from fspo_jax.models.features.featurizer import make_featurizer

    featurizer = make_featurizer(config)
    if not config.adapters:
        return featurizer
    stored = read_featurizer(config.adapters)
    adapters = stored.adapters
    if adapters is None:
        raise CheckpointError(
            f"{config.adapters}: its encoder has no adapters. Meta-train with 'encoder.adapter_rank' above 0."
        )
    if stored.base.fingerprint != featurizer.base.fingerprint:
        raise ConfigError(
            f"'encoder.adapters': those of {config.adapters} were trained on other weights than those of "
            f"'{config.model}'. Leave 'encoder.model' as it was there."
        )
    if config.approval and APPROVAL not in adapters:
        raise ConfigError(
            f"'encoder.approval': the adapters of {config.adapters} have none. Train them with it, or set it to false."
        )
    return featurizer.adapted(adapters)


def check_divisible(config: TrainConfig) -> None:
    """Raises `ConfigError` unless steps divide by the dispatch: one compiled program serves the whole run."""
    if config.steps % config.steps_per_dispatch:
        raise ConfigError(
            f"'steps' ({config.steps}) must be a multiple of 'steps_per_dispatch' "
            f"({config.steps_per_dispatch})."
        )
