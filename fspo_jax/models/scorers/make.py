"""From a scorer's config to the scorer."""

from __future__ import annotations

from fspo_jax.config import (
    FastWeightsConfig,
    GroupPreferenceConfig,
    LanguageModelConfig,
    LowRankConfig,
    MetaRewardConfig,
    MixtureConfig,
    PopulationConfig,
    PreferentialGPConfig,
    PrototypesConfig,
    ScorerConfig,
    SetTransformerConfig,
    TransferGPConfig,
    VariationalConfig,
)
from fspo_jax.errors import ConfigError
from fspo_jax.models.precision import in_float32
from fspo_jax.models.scorers.contract import Scorer
from fspo_jax.models.scorers.fast_weights import fast_weights
from fspo_jax.models.scorers.group_preference import group_preference
from fspo_jax.models.scorers.low_rank import low_rank
from fspo_jax.models.scorers.meta_reward import meta_reward
from fspo_jax.models.scorers.mixture import mixture
from fspo_jax.models.scorers.population import population
from fspo_jax.models.scorers.preferential_gp import preferential_gp
from fspo_jax.models.scorers.prototypes import prototypes
from fspo_jax.models.scorers.set_transformer import set_transformer
from fspo_jax.models.scorers.transfer_gp import transfer_gp
from fspo_jax.models.scorers.variational import variational


def make_scorer(config: ScorerConfig, feature_dimension: int) -> Scorer:
    """Returns the scorer that `config` describes, for features of width `feature_dimension`; it computes in float32.

    Raises:
        ConfigError: It is a language model, which reads tokens and is made by `models.language_model`.
    """
    scorer = _scorer_of(config, feature_dimension)
    return Scorer(
        scorer.init,
        in_float32(scorer.represent),
        in_float32(scorer.encode_context),
        in_float32(scorer.score),
        scorer.variance and in_float32(scorer.variance),
        scorer.penalty and in_float32(scorer.penalty),
    )


def _scorer_of(config: ScorerConfig, feature_dimension: int) -> Scorer:
    match config:
        case PreferentialGPConfig():
            return preferential_gp(config, feature_dimension)
        case TransferGPConfig():
            return transfer_gp(config, feature_dimension)
        case SetTransformerConfig():
            return set_transformer(config, feature_dimension)
        case PopulationConfig():
            return population(config, feature_dimension)
        case LowRankConfig():
            return low_rank(config, feature_dimension)
        case PrototypesConfig():
            return prototypes(config, feature_dimension)
        case GroupPreferenceConfig():
            return group_preference(config, feature_dimension)
        case VariationalConfig():
            return variational(config, feature_dimension)
        case MetaRewardConfig():
            return meta_reward(config, feature_dimension)
        case FastWeightsConfig():
            return fast_weights(config, feature_dimension)
        case MixtureConfig():
            return mixture(config, feature_dimension)
        case LanguageModelConfig():
            raise ConfigError("a language model reads tokens, no features.")
