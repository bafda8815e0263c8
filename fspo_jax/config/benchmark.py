"""The config of benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

from fspo_jax.config.features import DEFAULT_FEATURES, FeatureBlockConfig
from fspo_jax.config.ranges import Count, CountFromZero, NotNegative, Positive, ProbabilityBelowOne, Share
from fspo_jax.config.schema import DataConfig, EncoderConfig, EpisodeConfig
from fspo_jax.config.scorers import FeatureScorerConfig


@dataclass(frozen=True)
class BaselineConfig:
    """A method that is not meta-trained, made by `evaluation.baselines`.

    Attributes:
        kind: `isotropic_gp` and `per_user_logistic` learn from the user's own pairs only: a Gaussian process on the
            features, and L2 logistic regression on standardised features. `length` always picks the longer response.
            `majority` and `bayes_optimal` are ceilings. `majority` is the vote of the training users who judged the
            same pair (else a tie); no reward that is the same for everybody can be better. `bayes_optimal` is the
            posterior under the true generator of a synthetic world (ties for other people).
            The last three learn from the user's community, where there is one: `community_logistic` is
            `per_user_logistic` on the pairs of both, `popularity` counts how often each text was chosen and rejected,
            and `community_items` is a Gaussian process of an effect of every text, a collaborative filter by item.
    """

    kind: Literal[
        "isotropic_gp",
        "per_user_logistic",
        "length",
        "majority",
        "bayes_optimal",
        "community_logistic",
        "popularity",
        "community_items",
    ]

    @property
    def reads_features(self) -> bool:
        """Whether it reads features of the texts, and so depends on the encoder."""
        return self.kind in ("isotropic_gp", "per_user_logistic", "community_logistic")


@dataclass(frozen=True)
class ItemIdentityConfig:
    """A collaborative filter, as a ceiling: the preferential Gaussian process on random codes of the responses.

    It knows which response it sees but not what the response says, so it predicts only where others judged the same.
    """

    kind: Literal["item_identity"]


@dataclass(frozen=True)
class FinishedConfig:
    """A reward that is trained already, of features or a language model. It is the same in all folds.

    Nothing keeps its training people out of the measured ones: choose sources that it has not seen, or say so.

    Attributes:
        reward: A run, an exported reward, or the name of one that comes with the package.
    """

    kind: Literal["finished"]
    reward: str


@dataclass(frozen=True)
class MethodConfig:
    """One row of a benchmark.

    Attributes:
        name: Its name in tables.
        model: A scorer of features, which is meta-trained; a method without meta-training; or a finished reward.
        tail_fraction: As in `TrainConfig`.
        mismatched: A control: meta-train it with `episodes.mismatched`, on contexts of other users.
        adapters: A run or exported reward with encoder adapters for this method's features; empty for the encoder
            without adapters. A `three_level_gp` also reads their approval, if they have it. Holding out a source does
            not undo that the adapters may have been trained on it.
        features: Blocks that this method reads; empty for those of the benchmark.
    """

    name: str
    model: Union[FeatureScorerConfig, BaselineConfig, ItemIdentityConfig, FinishedConfig]
    tail_fraction: Share = 1.0
    mismatched: bool = False
    adapters: str = ""
    features: tuple[FeatureBlockConfig, ...] = ()


HEADLINE_SHOTS = 8


@dataclass(frozen=True)
class TrialConfig:
    """One setting that every meta-trained method is tried with."""

    learning_rate: Positive
    weight_decay: NotNegative
    feature_dropout: ProbabilityBelowOne


@dataclass(frozen=True)
class BenchmarkConfig:
    """A benchmark: methods, sources, numbers of shots and seeds.

    Attributes:
        hold_out: `users`: train on all sources and measure on other people of the same sources. `sources`: leave each
            source out of training in turn and measure on it, so that people and topics are new.
        seeds: Number of training seeds, from 0.
        users: Largest number of measured users per source.
        queries: Largest number of queries per user.
        shots: Numbers of shots.
        communities: Numbers of other people of the same source whose pairs a method has beside the user's own; 0
            alone measures no communities.
        community_pairs: Largest number of pairs of each of them.
        trials: Settings that every meta-trained method tries with seed 0. The smallest log loss on meta-validation
            users decides.
        features: Blocks that every method reads that names no others, without `approval`, which depends on a method's
            adapters.
        amplitudes: Settings of methods without meta-training: prior deviations of a typical margin, in nats.
    """

    hold_out: Literal["users", "sources"]
    seeds: Count
    steps: Count
    data: DataConfig
    methods: tuple[MethodConfig, ...]
    trials: tuple[TrialConfig, ...]
    amplitudes: tuple[Positive, ...] = (0.3, 1.0, 3.0, 10.0)
    users: Count = 500
    queries: Count = 32
    shots: tuple[CountFromZero, ...] = (0, 1, 2, 4, 8, 16)
    communities: tuple[CountFromZero, ...] = (0,)
    community_pairs: Count = 8
    encoder: EncoderConfig = EncoderConfig()  # noqa: RUF009
    features: tuple[FeatureBlockConfig, ...] = DEFAULT_FEATURES
    episodes: EpisodeConfig = EpisodeConfig()  # noqa: RUF009

    @property
    def largest_community(self) -> int:
        """The largest number of people of a community; 0 if the benchmark has none."""
        return max(self.communities, default=0)

    @property
    def headline_shots(self) -> int:
        """The main number of shots of the report: the largest up to 8, or the smallest if all are larger."""
        return max((k for k in self.shots if k <= HEADLINE_SHOTS), default=min(self.shots))
