"""From a scorer's config to the scorer."""

from __future__ import annotations

from fspo_jax.config import (
    LanguageModelConfig,
    PopulationConfig,
    PreferentialGPConfig,
    ScorerConfig,
    SetTransformerConfig,
)
from fspo_jax.errors import ConfigError
from fspo_jax.models.population import population
from fspo_jax.models.preferential_gp import preferential_gp
from fspo_jax.models.scorer import Scorer
from fspo_jax.models.set_transformer import set_transformer


def make_scorer(config: ScorerConfig, feature_dimension: int) -> Scorer:
    """Returns the scorer that `config` describes, for features of width `feature_dimension`.

    Raises:
        ConfigError: It is a language model, which reads tokens and is made by `models.language_model`.
    """
    match config:
        case PreferentialGPConfig():
            return preferential_gp(config, feature_dimension)
        case SetTransformerConfig():
            return set_transformer(config, feature_dimension)
        case PopulationConfig():
            return population(config, feature_dimension)
        case LanguageModelConfig():
            raise ConfigError("a language model reads tokens, no features.")
