"""Makes scorers from their configs."""

from __future__ import annotations

import functools
from collections.abc import Mapping

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
    ThreeLevelGPConfig,
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
from fspo_jax.models.scorers.three_level_gp import three_level_gp
from fspo_jax.models.scorers.variational import variational


def make_scorer(config: ScorerConfig, blocks: Mapping[str, int]) -> Scorer:
    """Makes the scorer of a config, the same for equal configs and blocks, so that programs of it are found again.

    It computes in float32.

    Args:
        config: The config of the scorer.
        blocks: Width of each block of feature columns by name, in order; their sum is F.

    Raises:
        ConfigError: The config is that of a language model (`models.language.reward_model`), or the scorer needs a
            block that is missing.
    """
    return _made(config, tuple(blocks.items()))


@functools.lru_cache(maxsize=16)
def _made(config: ScorerConfig, blocks: tuple[tuple[str, int], ...]) -> Scorer:
    scorer = _scorer_of(config, dict(blocks))
    return scorer._replace(
        represent=in_float32(scorer.represent),
        encode_context=in_float32(scorer.encode_context),
        score=in_float32(scorer.score),
        variance=scorer.variance and in_float32(scorer.variance),
        penalty=scorer.penalty and in_float32(scorer.penalty),
        learn=scorer.learn and in_float32(scorer.learn),
        spread=scorer.spread and in_float32(scorer.spread),
        contribution=scorer.contribution and in_float32(scorer.contribution),
    )


def _scorer_of(config: ScorerConfig, blocks: Mapping[str, int]) -> Scorer:
    features = sum(blocks.values())
    match config:
        case PreferentialGPConfig():
            return preferential_gp(config, features)
        case ThreeLevelGPConfig():
            return three_level_gp(config, blocks)
        case SetTransformerConfig():
            return set_transformer(config, features)
        case PopulationConfig():
            return population(config, features)
        case LowRankConfig():
            return low_rank(config, features)
        case PrototypesConfig():
            return prototypes(config, features)
        case GroupPreferenceConfig():
            return group_preference(config, features)
        case VariationalConfig():
            return variational(config, features)
        case MetaRewardConfig():
            return meta_reward(config, features)
        case FastWeightsConfig():
            return fast_weights(config, features)
        case MixtureConfig():
            return mixture(config, features)
        case LanguageModelConfig():
            raise ConfigError(
                "a language model reads tokens instead of features, so there is no scorer of features for it."
            )
