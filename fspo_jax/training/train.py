"""Meta-trains the reward of a config, and its baselines."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from fspo_jax.arguments import check_path, shown
from fspo_jax.checkpoints import (
    CHECKPOINTS,
    MISMATCHED,
    POPULATION,
    REWARD,
    read_adapters,
    read_fitted,
    read_metadata,
    read_reward,
)
from fspo_jax.checkpoints.rewards import COMMUNITY, DESCRIPTION
from fspo_jax.config import (
    EncoderConfig,
    FeatureBlockConfig,
    LanguageModelConfig,
    PopulationConfig,
    TrainConfig,
    check_config,
)
from fspo_jax.config.checks import check_steps
from fspo_jax.data.episodes import index_items
from fspo_jax.errors import CheckpointError, ConfigError, counted
from fspo_jax.models.features.approval import APPROVAL
from fspo_jax.models.features.contract import FeatureFunction, featurize
from fspo_jax.models.features.featurizer import Featurizer
from fspo_jax.models.features.fitted import fit_columns
from fspo_jax.models.features.make import make_featurizer, restore_featurizer
from fspo_jax.models.scorers.contract import Params
from fspo_jax.models.scorers.make import make_scorer
from fspo_jax.processes import on_main
from fspo_jax.training.fit import OnProgress, fit, nothing_to_finish
from fspo_jax.training.run.checkpoints import was_evaluated
from fspo_jax.training.run.directory import (
    REJECTS,
    has_begun,
    is_finished,
    open_run,
    removed_if_nothing_began,
)
from fspo_jax.training.run.lock import locked
from fspo_jax.training.tasks.head import HeadTask
from fspo_jax.types import User

FROZEN = "frozen"
"""Name, inside a run directory, of the run that trains the scorer before the adapters of the encoder."""

WHY = {
    FROZEN: "trains the scorer alone first, which is much faster ('encoder.frozen_steps')",
    POPULATION: "trains one reward for everybody on the same people, which the report compares with "
    "('population_baseline = false' leaves it out)",
    MISMATCHED: "trains the same scorer on labelled pairs of other people, as a control for the report "
    "('mismatched_baseline = false' leaves it out)",
}
"""Why another training starts inside a run, by the name of its directory."""

FEW_USERS = 20
"""With fewer meta-training users, a warning says that more are needed."""

Users = Mapping[str, Sequence[User]]
"""Users of each split."""

OnEncoded = Callable[[int, int], None]

_log = logging.getLogger(__name__)


def train(
    config: TrainConfig,
    run_directory: str | Path,
    *,
    resume: bool = False,
    finish: bool = False,
    on_progress: OnProgress | None = None,
    on_encoded: OnEncoded | None = None,
) -> Path:
    """Meta-trains the scorer of `config` and the baselines named in it.

    Episodes come from users of the train split, and users of the validation split select the model. Users of the test
    split are not loaded. A run depends on its config only: if it is stopped and resumed, it ends with the same
    parameters, bit for bit on the same machine.

    Args:
        config: Everything that decides the run.
        run_directory: A new or empty directory; with `resume`, the directory of an earlier run.
        resume: Whether to continue from the last checkpoint. A finished run is not changed.
        finish: Whether to end an earlier run as it is: its best checkpoint so far is exported, and so is that of each
            baseline that was evaluated. The other baselines are left out; `resume` trains them later.
        on_progress: Called after every dispatch.
        on_encoded: Called while texts become features, with the numbers of items done and of all.

    Returns:
        Directory of the exported reward, for `PersonalizedReward.load`.

    Raises:
        CheckpointError: Without `resume`, the directory is not empty. With `resume`, it has no run, or the run has a
            different config or other data. With `finish`, it has no evaluation. Or it cannot be written, or another
            process is training in it.
        ConfigError: A value of the config is not allowed, the batch cannot be divided over the devices, or `start` has
            another scorer or other features.
        DataError: Users are missing or have too few pairs.
        TrainingError: The loss is not finite.
        TrainingInterrupted: SIGTERM or Ctrl-C; a checkpoint is saved and the run can be resumed.

    Example:
        >>> config = load_config("configs/quickstart.toml")  # doctest: +SKIP
        >>> reward = PersonalizedReward.load(train(config, "runs/quickstart"))  # doctest: +SKIP
    """
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"config must be a TrainConfig, as load_config returns it, not {shown(config)}.")
    run = check_path(run_directory, "run_directory", error=CheckpointError)
    check_config(config)
    check_steps(config)
    if jax.process_count() > 1 and not isinstance(config.scorer, LanguageModelConfig):
        raise ConfigError("scorers of features train in one process; language models in several.")
    resume = resume or finish
    with locked(run, make=not resume):
        on_main(lambda: open_run(run, config, resume=resume))
        runs = {run: config} | _side_runs(config, run)
        if finish:
            for directory in list(runs):
                if not (is_finished(directory) or was_evaluated(directory / CHECKPOINTS)):
                    if directory == run:
                        raise nothing_to_finish(run)
                    _log.info("%s: left out, because it has not been evaluated yet", directory.name)
                    del runs[directory]
        _train_all(runs, finish, on_progress, on_encoded)
    return run / REWARD


def _train_all(
    runs: Mapping[Path, TrainConfig],
    finish: bool,
    on_progress: OnProgress | None,
    on_encoded: OnEncoded | None,
) -> None:
    """Trains the first of the runs, then its baselines, as far as they are not finished."""
    run, config = next(iter(runs.items()))
    if not all(map(is_finished, runs)):
        from fspo_jax.data.build import load_splits

        with removed_if_nothing_began(run):
            users = load_splits(config.data, ("train", "validation"), rejects_directory=run / REJECTS)
            _warn_of_few(len(users["train"]))
            if isinstance(config.scorer, LanguageModelConfig):
                _train_language_models(runs, users, finish, on_progress)
            else:
                _train_on_features(runs, users, finish, on_progress, on_encoded)


def _side_runs(config: TrainConfig, run: Path) -> dict[Path, TrainConfig]:
    """Returns the configs of the baselines of a run, by run directory."""
    alone = dataclasses.replace(config, population_baseline=False, mismatched_baseline=False, start="")
    found = {}
    if config.population_baseline and not isinstance(config.scorer, PopulationConfig | LanguageModelConfig):
        found[run / POPULATION] = dataclasses.replace(alone, scorer=PopulationConfig(kind="population"))
    if config.mismatched_baseline:
        episodes = dataclasses.replace(config.episodes, mismatched=True)
        found[run / MISMATCHED] = dataclasses.replace(alone, episodes=episodes)
    return found


def _warn_of_few(users: int) -> None:
    if users < FEW_USERS:
        _log.warning(
            "only %s to train on, after some are set aside for validation and test: the reward will not carry over to "
            "other people. Provide at least %s people, better hundreds. To learn the taste of a few people, adapt a "
            "trained reward such as fspo-mini instead (`fspo adapt`).",
            counted(users, "person", "people"),
            FEW_USERS,
        )


def _say_why(directory: Path) -> None:
    if (why := WHY.get(directory.name)) and not is_finished(directory):
        _log.info("%s: %s", directory.name, why)


def _train_language_models(
    runs: Mapping[Path, TrainConfig], users: Users, finish: bool, on_progress: OnProgress | None
) -> None:
    from fspo_jax.training.tasks.language_model import LanguageModelTask

    train_users, validation_users = (index_items(users[split]) for split in ("train", "validation"))
    descriptions = [user.description for user in users["train"]]
    for directory, config in runs.items():
        task = LanguageModelTask(config, *train_users, *validation_users, descriptions=descriptions)
        _say_why(directory)
        fit(task, directory, resume=has_begun(directory), finish=finish, on_progress=on_progress)


def _train_on_features(
    runs: Mapping[Path, TrainConfig],
    users: Users,
    finish: bool,
    on_progress: OnProgress | None,
    on_encoded: OnEncoded | None,
) -> None:
    """Trains a scorer of features and its baselines, which read the features of the adapted encoder if there is one."""
    (run, config), *baselines = runs.items()
    featurizer = encoder_features(config.encoder, config.features)
    if config.fits_features:
        if config.start:
            fitted = read_fitted(config.start)
        else:
            items, _ = index_items(users["train"])
            rows, prompts = featurize(featurizer, items, on_encoded), [prompt for prompt, _ in items]
            fitted = fit_columns(rows, prompts, featurizer.blocks, config.features)
        featurizer = featurizer.with_fitted(fitted)
    if config.encoder.adapter_rank:
        if not is_finished(run):
            _train_adapters(config, featurizer, users, run, finish, on_progress, on_encoded)
        featurizer = featurizer.adapted(read_adapters(run) or {})
        todo = baselines
    else:
        todo = list(runs.items())
    if not todo:
        return
    (train_items, train_table), (items, table) = map(index_items, users.values())
    features = featurize(featurizer, [*train_items, *items], on_encoded)
    train_features, features = features[: len(train_items)], features[len(train_items) :]
    for directory, its in todo:
        _say_why(directory)
        scorer = make_scorer(its.scorer, featurizer.blocks)
        start = read_start(its, featurizer) if its.start else None
        task = HeadTask(
            its, scorer, train_table, train_features, table, features, featurizer=featurizer, start=start
        )
        fit(task, directory, resume=has_begun(directory), finish=finish, on_progress=on_progress)


def read_start(config: TrainConfig, featurizer: FeatureFunction) -> Params:
    """Reads the parameters that a run begins with.

    Raises:
        CheckpointError: `config.start` is no reward.
        ConfigError: It has another scorer, or reads other features.
    """
    params, found = read_reward(config.start)
    if found.config.scorer != config.scorer:
        raise ConfigError(
            f"'start': the scorer of {config.start} is {found.config.scorer}, but 'scorer' is {config.scorer}. "
            "Make them equal."
        )
    if found.featurizer_fingerprint != featurizer.fingerprint:
        raise ConfigError(
            f"'start': {config.start} reads other features than 'encoder' and 'features' give. Set both as its config "
            f"has them; 'encoder.adapters' is \"{config.start}\" if its encoder has adapters."
        )
    return {name: leaf for name, leaf in params.items() if name not in (COMMUNITY, DESCRIPTION)}


def _train_adapters(
    config: TrainConfig,
    featurizer: Featurizer,
    users: Users,
    run: Path,
    finish: bool,
    on_progress: OnProgress | None,
    on_encoded: OnEncoded | None,
) -> None:
    """Trains the scorer first, if the config has `frozen_steps`, then the scorer and the adapters together."""
    from fspo_jax.training.tasks.adapters import VALIDATION_USERS, AdaptersTask

    start = None
    if config.encoder.frozen_steps:
        frozen = dataclasses.replace(
            config,
            steps=config.encoder.frozen_steps,
            encoder=dataclasses.replace(config.encoder, adapter_rank=0, frozen_steps=0),
            population_baseline=False,
            mismatched_baseline=False,
        )
        _train_on_features({run / FROZEN: frozen}, users, finish, on_progress, on_encoded)
        start, _ = read_reward(run / FROZEN)
    of_all = users["validation"]
    some = np.unique(np.linspace(0, len(of_all) - 1, VALIDATION_USERS).astype(int))
    train_users, validation_users = index_items(users["train"]), index_items([of_all[i] for i in some])
    task = AdaptersTask(config, featurizer, *train_users, *validation_users, start=start)
    fit(task, run, resume=True, finish=finish, on_progress=on_progress)  # opened by `train`


def encoder_features(config: EncoderConfig, features: Sequence[FeatureBlockConfig]) -> Featurizer:
    """Makes the featurizer of a config, with the frozen adapters that it names.

    Raises:
        CheckpointError: As in `restore_featurizer`, or there are no adapters.
        ConfigError: The adapters were trained on other weights, or lack the approval that `features` lists.
        EncoderError: The encoder's weights are missing.
    """
    featurizer = make_featurizer(config, features)
    if not config.adapters:
        return featurizer
    adapters, trained = read_adapters(config.adapters), read_metadata(config.adapters)
    if adapters is None:
        raise CheckpointError(
            f"{config.adapters}: its encoder has no adapters. Meta-train with 'encoder.adapter_rank' above 0."
        )
    stored = restore_featurizer(
        trained.config, adapters, trained.featurizer_fingerprint, fitted=read_fitted(config.adapters)
    )
    if stored.base.fingerprint != featurizer.base.fingerprint:
        raise ConfigError(
            f"'encoder.adapters': those of {config.adapters} were trained on other weights than those of "
            f"'{config.model}'. Leave 'encoder.model' as it was there."
        )
    if APPROVAL in featurizer.blocks and APPROVAL not in adapters:
        raise ConfigError(
            f"'features' has \"approval\", but the adapters of {config.adapters} have none. Remove it from 'features', "
            "or train adapters with it."
        )
    return featurizer.adapted(adapters)
