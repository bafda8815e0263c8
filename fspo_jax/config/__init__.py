"""Frozen, typed configuration and the one strict TOML reader."""

from fspo_jax.config.reader import config_from_dict, config_to_dict, load_config
from fspo_jax.config.schema import (
    ATTENTION_BLOCK,
    CandidateSource,
    DataConfig,
    Domain,
    EncoderConfig,
    EpisodeConfig,
    LanguageModelConfig,
    OptimizerConfig,
    PersonaSource,
    PopulationConfig,
    PreferenceSource,
    PreferentialGPConfig,
    ScorerConfig,
    SetTransformerConfig,
    TrainConfig,
    TraitSource,
)

__all__ = [
    "ATTENTION_BLOCK",
    "CandidateSource",
    "DataConfig",
    "Domain",
    "EncoderConfig",
    "EpisodeConfig",
    "LanguageModelConfig",
    "OptimizerConfig",
    "PersonaSource",
    "PopulationConfig",
    "PreferenceSource",
    "PreferentialGPConfig",
    "ScorerConfig",
    "SetTransformerConfig",
    "TrainConfig",
    "TraitSource",
    "config_from_dict",
    "config_to_dict",
    "load_config",
]
