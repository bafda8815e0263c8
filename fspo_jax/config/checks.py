"""Rules between the keys of a config. The range of a single number stands on its field, see `ranges`."""

from __future__ import annotations

from collections.abc import Sequence

from fspo_jax.config.benchmark import BaselineConfig, BenchmarkConfig, ItemIdentityConfig
from fspo_jax.config.features import ApprovalConfig, FeatureBlockConfig, StyleConfig
from fspo_jax.config.schema import DataConfig, TrainConfig
from fspo_jax.config.scorers import (
    ATTENTION_BLOCK,
    GroupPreferenceConfig,
    LanguageModelConfig,
    SetTransformerConfig,
    TransferGPConfig,
)
from fspo_jax.errors import ConfigError


def check_values(config: TrainConfig) -> None:
    """Raises `ConfigError` where two keys of a training config do not fit each other."""
    data, scorer = config.data, config.scorer
    _check_cohort(data)
    _check_features(config.features)
    if data.validation_fraction + data.test_fraction >= 1:
        raise ConfigError(
            f"'data.validation_fraction' ({data.validation_fraction}) and 'data.test_fraction' "
            f"({data.test_fraction}) must leave some users to train on: their sum must be below 1."
        )
    if isinstance(scorer, SetTransformerConfig | GroupPreferenceConfig) and scorer.width % scorer.heads:
        raise ConfigError(
            f"'scorer.width' ({scorer.width}) must be a multiple of 'scorer.heads' ({scorer.heads})."
        )
    if isinstance(scorer, LanguageModelConfig):
        _check_language_model(config, scorer)
    else:
        if config.objective not in ("bradley_terry", "ipo"):
            raise ConfigError(
                f"'objective' {config.objective!r} is for language models; here: bradley_terry, ipo."
            )
        if config.encoder.adapter_rank and config.encoder.adapters:
            raise ConfigError(
                "'encoder.adapters' are kept frozen: leave it empty, or 'encoder.adapter_rank' at 0."
            )
        if isinstance(scorer, TransferGPConfig):
            _check_transfer_gp(config.features)
        if config.fsdp * config.tensor > 1:
            raise ConfigError("'fsdp' and 'tensor' divide language models only; leave them at 1.")


def check_benchmark(config: BenchmarkConfig) -> None:
    """Raises `ConfigError` where two keys of a benchmark do not fit each other."""
    _check_cohort(config.data)
    _check_features(config.features)
    if ApprovalConfig() in config.features:
        raise ConfigError(
            "remove \"approval\" from 'features': a \"transfer_gp\" method reads it where its 'adapters' have one."
        )
    if config.encoder.adapter_rank or config.encoder.frozen_steps:
        raise ConfigError(
            "'encoder.adapter_rank' and 'encoder.frozen_steps' are for training: a benchmark reads 'adapters' that are."
        )
    names = [method.name for method in config.methods]
    for i, method in enumerate(config.methods):
        model = method.model
        if names.index(method.name) < i:
            raise ConfigError(
                f"'methods.{i}.name' is '{method.name}' as that of 'methods.{names.index(method.name)}': results are "
                "kept by name, so each needs its own."
            )
        reads = model.reads_features if isinstance(model, BaselineConfig) else True
        if method.adapters and (isinstance(model, ItemIdentityConfig) or not reads):
            raise ConfigError(f"'methods.{i}.adapters': '{method.name}' reads no features.")
        if method.mismatched and isinstance(model, BaselineConfig):
            raise ConfigError(
                f"'methods.{i}.mismatched' must be false: '{method.name}' is not meta-trained, so it has no training "
                "contexts to replace."
            )
        if isinstance(model, TransferGPConfig):
            _check_transfer_gp(config.features)


def _check_cohort(data: DataConfig) -> None:
    for i, source in enumerate(data.sources):
        cohort = getattr(source, "cohort", 0)
        if cohort != data.cohort:
            raise ConfigError(
                f"'data.sources.{i}.cohort' is {cohort}, but that of 'data.sources.0' is {data.cohort}. All "
                "sources of a run must have the same cohort: a step trains on one cohort at a time."
            )


def _check_features(features: Sequence[FeatureBlockConfig]) -> None:
    for i, block in enumerate(features):
        if block in features[:i]:
            raise ConfigError(
                f"'features.{i}' repeats 'features.{features.index(block)}': list each block once."
            )


def _check_transfer_gp(features: Sequence[FeatureBlockConfig]) -> None:
    if StyleConfig() not in features:
        raise ConfigError(
            "'scorer.kind' \"transfer_gp\" reads the style block: add kind = \"style\" to 'features'."
        )


def _check_language_model(config: TrainConfig, scorer: LanguageModelConfig) -> None:
    objectives = ("dpo", "ipo", "sft") if scorer.reward == "implicit" else ("bradley_terry", "ipo")
    if config.objective not in objectives:
        raise ConfigError(
            f"'objective' {config.objective!r} does not go with 'scorer.reward' {scorer.reward!r}, which takes "
            f"{', '.join(objectives)}."
        )
    if scorer.template == "fspo_v1" and scorer.layout == "parallel":
        raise ConfigError(
            "'scorer.template' \"fspo_v1\" numbers its shots, so 'scorer.layout' must be \"sequential\"."
        )
    if scorer.reward == "gaussian_process" and scorer.micro_batches > 1:
        raise ConfigError(
            "'scorer.micro_batches' must be 1 with the Gaussian process: pairs of an episode meet in one loss."
        )
    if scorer.description_weight and (scorer.reward != "implicit" or scorer.template != "structured"):
        raise ConfigError(
            '\'scorer.description_weight\' needs the "implicit" reward, which can write, and the "structured" template.'
        )
    if scorer.description_weight and (config.episodes.mismatched or config.mismatched_baseline):
        raise ConfigError(
            "'episodes.mismatched' and 'mismatched_baseline' must be false with 'scorer.description_weight': the "
            "description would still be that of the user."
        )
    if scorer.description_weight and config.episodes.flip_probability:
        raise ConfigError(
            "'episodes.flip_probability' must be 0 with 'scorer.description_weight': a description does not fit "
            "reversed labels."
        )
    if scorer.lora_rank and not scorer.base:
        raise ConfigError("'scorer.lora_rank' adapts a trained model: set 'scorer.base', or a rank of 0.")
    if not scorer.base and (scorer.width % scorer.heads or scorer.heads % scorer.kv_heads):
        raise ConfigError(
            f"'scorer.width' ({scorer.width}) must be a multiple of 'scorer.heads' ({scorer.heads}), and that of "
            f"'scorer.kv_heads' ({scorer.kv_heads})."
        )
    if scorer.attention == "pallas" and scorer.row_length % ATTENTION_BLOCK:
        raise ConfigError(
            f"'scorer.row_length' ({scorer.row_length}) must be a multiple of {ATTENTION_BLOCK} for 'scorer.attention' "
            '"pallas".'
        )
    if config.feature_dropout:
        raise ConfigError("'feature_dropout' is for scorers of frozen features; set it to 0.")


def check_steps(config: TrainConfig) -> None:
    """Raises `ConfigError` unless the steps of a run fit each other: one compiled program serves the whole run."""
    for name, value in (("steps", config.steps), ("evaluate_every", config.evaluate_every)):
        if value % config.steps_per_dispatch:
            raise ConfigError(
                f"'{name}' ({value}) must be a multiple of 'steps_per_dispatch' ({config.steps_per_dispatch})."
            )
    if config.optimizer.warmup_steps >= config.steps:
        raise ConfigError(
            f"'optimizer.warmup_steps' ({config.optimizer.warmup_steps}) must be less than 'steps' "
            f"({config.steps})."
        )


def check_trainable(config: TrainConfig) -> None:
    """What a run could not start with; a stored config may have it, since serving does not care."""
    check_steps(config)
    encoder = config.encoder
    if ApprovalConfig() in config.features and not (encoder.adapters or encoder.adapter_rank):
        raise ConfigError(
            "'features' has \"approval\", which is trained with adapters: set 'encoder.adapters', or "
            "'encoder.adapter_rank' above 0."
        )
    if encoder.adapter_learning_rate and not encoder.adapter_rank:
        raise ConfigError("'encoder.adapter_learning_rate' needs an 'encoder.adapter_rank' above 0.")
    frozen = encoder.frozen_steps
    if frozen and (frozen % config.evaluate_every or frozen <= config.optimizer.warmup_steps):
        raise ConfigError(
            f"'encoder.frozen_steps' ({frozen}) must be a multiple of 'evaluate_every' ({config.evaluate_every}) and "
            f"more than 'optimizer.warmup_steps' ({config.optimizer.warmup_steps})."
        )
