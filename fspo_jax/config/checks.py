"""Rules between the keys of a config. Ranges of single numbers are in the types of the fields, see `ranges`."""

from __future__ import annotations

from collections.abc import Sequence

from fspo_jax.config.benchmark import BaselineConfig, BenchmarkConfig, FinishedConfig, ItemIdentityConfig
from fspo_jax.config.features import ApprovalConfig, FeatureBlockConfig, StyleConfig
from fspo_jax.config.schema import DataConfig, TrainConfig
from fspo_jax.config.scorers import (
    ATTENTION_BLOCK,
    GroupPreferenceConfig,
    LanguageModelConfig,
    SetTransformerConfig,
    ThreeLevelGPConfig,
)
from fspo_jax.errors import ConfigError

MOST_COMMUNITY_PAIRS = 96
"""Pairs of a community in training; the compiled loop of training inverts no larger matrices."""


def check_values(config: TrainConfig) -> None:
    """Raises `ConfigError` if two keys of a training config contradict each other."""
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
    if config.start and (isinstance(scorer, LanguageModelConfig) or config.encoder.adapter_rank):
        raise ConfigError(
            "'start' is for scorers of features, without adapters that are trained. Leave it empty; a language model "
            "starts from 'scorer.base'."
        )
    _check_communities(config)
    if config.episodes.mirrored and (config.episodes.batch_size % 2 or config.episodes.communities):
        raise ConfigError(
            "'episodes.mirrored' needs an even 'episodes.batch_size', half of it mirror images, and no communities."
        )
    if isinstance(scorer, LanguageModelConfig):
        _check_language_model(config, scorer)
    else:
        if config.objective not in ("bradley_terry", "ipo"):
            raise ConfigError(
                f"'objective' {config.objective!r} is for language models. For this scorer: bradley_terry, ipo."
            )
        if config.sft_weight:
            raise ConfigError("'sft_weight' is for language models. Set it to 0.")
        if config.encoder.adapter_rank and config.encoder.adapters:
            raise ConfigError(
                "'encoder.adapters' are not trained. Leave it empty, or set 'encoder.adapter_rank' to 0."
            )
        if isinstance(scorer, ThreeLevelGPConfig):
            _check_style(scorer.kind, config.features)
        if config.fsdp * config.tensor > 1:
            raise ConfigError("'fsdp' and 'tensor' are for language models. Set them to 1.")


def check_benchmark(config: BenchmarkConfig) -> None:
    """Raises `ConfigError` if two keys of a benchmark contradict each other."""
    _check_cohort(config.data)
    for features in (config.features, *(method.features for method in config.methods)):
        _check_features(features)
        if ApprovalConfig() in features:
            raise ConfigError(
                "remove \"approval\" from 'features'. A \"three_level_gp\" method reads it if its 'adapters' have it."
            )
    if config.encoder.adapter_rank or config.encoder.frozen_steps:
        raise ConfigError(
            "'encoder.adapter_rank' and 'encoder.frozen_steps' are for training runs. Train adapters first, then name "
            "the run in the 'adapters' of a method."
        )
    names = [method.name for method in config.methods]
    for i, method in enumerate(config.methods):
        model = method.model
        if names.index(method.name) < i:
            raise ConfigError(
                f"'methods.{i}.name' is '{method.name}', like that of 'methods.{names.index(method.name)}'. Give each "
                "method its own name."
            )
        reads = model.reads_features if isinstance(model, BaselineConfig) else True
        if isinstance(model, FinishedConfig) and (method.adapters or method.features):
            raise ConfigError(
                f"'methods.{i}.adapters' and 'methods.{i}.features' must be empty, because '{method.name}' is a "
                "finished reward, which has its own."
            )
        for key in ("adapters", "features"):
            if getattr(method, key) and (isinstance(model, ItemIdentityConfig) or not reads):
                raise ConfigError(
                    f"'methods.{i}.{key}' must be empty, because '{method.name}' reads no features."
                )
        if method.mismatched and isinstance(model, BaselineConfig | FinishedConfig):
            raise ConfigError(
                f"'methods.{i}.mismatched' must be false, because '{method.name}' is not meta-trained."
            )
        if isinstance(model, ThreeLevelGPConfig):
            _check_style(model.kind, method.features or config.features)


def _check_cohort(data: DataConfig) -> None:
    for i, source in enumerate(data.sources):
        cohort = getattr(source, "cohort", 0)
        if cohort != data.cohort:
            raise ConfigError(
                f"'data.sources.{i}.cohort' is {cohort}, but that of 'data.sources.0' is {data.cohort}. All "
                "sources of a run must have the same cohort, because a step trains on one cohort at a time."
            )


def _check_communities(config: TrainConfig) -> None:
    episodes = config.episodes
    if not episodes.communities:
        return
    if not isinstance(config.scorer, ThreeLevelGPConfig):
        raise ConfigError(
            f"'episodes.communities' is {episodes.communities}, but a \"{config.scorer.kind}\" scorer has no level of "
            'communities. Set it to 0, or use the scorer "three_level_gp".'
        )
    if episodes.community_people * episodes.community_pairs > MOST_COMMUNITY_PAIRS:
        raise ConfigError(
            f"'episodes.community_people' ({episodes.community_people}) times 'episodes.community_pairs' "
            f"({episodes.community_pairs}) must be at most {MOST_COMMUNITY_PAIRS}."
        )
    if episodes.batch_size % episodes.communities:
        raise ConfigError(
            f"'episodes.batch_size' ({episodes.batch_size}) must be a multiple of 'episodes.communities' "
            f"({episodes.communities})."
        )
    if config.data.cohort or config.encoder.adapter_rank:
        raise ConfigError(
            "'episodes.communities' must be 0 where users come in cohorts or adapters are trained."
        )


def _check_features(features: Sequence[FeatureBlockConfig]) -> None:
    names = [block.name for block in features]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ConfigError(
                f"'features.{i}' repeats 'features.{names.index(name)}': both are named '{name}'. List each block once."
            )


def _check_style(kind: str, features: Sequence[FeatureBlockConfig]) -> None:
    if StyleConfig() not in features:
        raise ConfigError(
            f"'scorer.kind' \"{kind}\" reads the style block. Add kind = \"style\" to 'features'."
        )


def _check_language_model(config: TrainConfig, scorer: LanguageModelConfig) -> None:
    objectives = ("dpo", "ipo", "sft") if scorer.reward == "implicit" else ("bradley_terry", "ipo")
    if config.objective not in objectives:
        raise ConfigError(
            f"'objective' {config.objective!r} cannot be used with 'scorer.reward' {scorer.reward!r}. Allowed: "
            f"{', '.join(objectives)}."
        )
    if config.sft_weight and (scorer.reward != "implicit" or config.objective == "sft"):
        raise ConfigError(
            "'sft_weight' needs 'scorer.reward' \"implicit\" and the 'objective' dpo or ipo. Set it to 0."
        )
    if scorer.template == "fspo_v1" and scorer.layout == "parallel":
        raise ConfigError(
            "'scorer.template' \"fspo_v1\" numbers its shots, so 'scorer.layout' must be \"sequential\"."
        )
    if scorer.reward == "gaussian_process" and scorer.micro_batches > 1:
        raise ConfigError(
            "'scorer.micro_batches' must be 1 with the Gaussian process, which needs all pairs of an episode at once."
        )
    if scorer.description_weight and (scorer.reward != "implicit" or scorer.template != "structured"):
        raise ConfigError(
            '\'scorer.description_weight\' needs the "implicit" reward, which can write, and the "structured" template.'
        )
    if scorer.description_weight and (config.episodes.mismatched or config.mismatched_baseline):
        raise ConfigError(
            "'episodes.mismatched' and 'mismatched_baseline' must be false with 'scorer.description_weight', "
            "because the description would still be that of the user."
        )
    if scorer.description_weight and (config.episodes.flip_probability or config.episodes.mirrored):
        raise ConfigError(
            "'episodes.flip_probability' must be 0, and 'episodes.mirrored' false, with 'scorer.description_weight', "
            "because a description contradicts flipped labels."
        )
    if scorer.lora_rank and not scorer.base:
        raise ConfigError(
            "'scorer.lora_rank' adapts a trained model. Set 'scorer.base' to one, or the rank to 0."
        )
    simple = scorer.reward == "implicit" and scorer.template == "structured" and not scorer.description_weight
    if scorer.output_tokens and not simple:
        raise ConfigError(
            "'scorer.output_tokens' is about probabilities of responses: it needs the \"implicit\" reward, the "
            "\"structured\" template and a 'scorer.description_weight' of 0. Set it to 0."
        )
    if scorer.split_layer and not (scorer.base and scorer.lora_rank):
        raise ConfigError(
            "'scorer.split_layer' divides a trained model, whose upper layers get adapters. Set 'scorer.base' and "
            "'scorer.lora_rank', or 'scorer.split_layer' to 0."
        )
    if scorer.pool > 1 and not scorer.split_layer:
        raise ConfigError(
            "'scorer.pool' averages outputs of lower layers. Set 'scorer.split_layer', or 'scorer.pool' to 1."
        )
    if scorer.split_layer and (scorer.template != "structured" or scorer.description_weight):
        raise ConfigError(
            "'scorer.split_layer' needs the \"structured\" template and a 'scorer.description_weight' of 0: with lower "
            "layers that read each text by itself, a row has no text of its own."
        )
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
    if scorer.context_length >= scorer.row_length:
        raise ConfigError(
            f"'scorer.context_length' ({scorer.context_length}) must be below 'scorer.row_length' "
            f"({scorer.row_length}): a row also holds a question and its responses."
        )
    for name, dropout in (("feature", config.feature_dropout), ("block", config.block_dropout)):
        if dropout:
            raise ConfigError(f"'{name}_dropout' is for scorers of features. Set it to 0.")
    if config.fits_features:
        raise ConfigError(
            "Blocks with 'standardize' or 'directions' are for scorers of features. Leave them out."
        )


def check_steps(config: TrainConfig) -> None:
    """Raises `ConfigError` unless the numbers of steps are multiples: one compiled program serves a run."""
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
    """Raises `ConfigError` if a run could not start with this config. A stored config may still be served."""
    check_steps(config)
    encoder = config.encoder
    if ApprovalConfig() in config.features and not (encoder.adapters or encoder.adapter_rank):
        raise ConfigError(
            "'features' has \"approval\", which needs adapters. Set 'encoder.adapters', or "
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
