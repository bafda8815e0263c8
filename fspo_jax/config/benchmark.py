"""What a benchmark compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

from fspo_jax.config.features import DEFAULT_FEATURES, FeatureBlockConfig
from fspo_jax.config.ranges import Count, CountFromZero, NotNegative, Positive, ProbabilityBelowOne, Share
from fspo_jax.config.schema import DataConfig, EncoderConfig, EpisodeConfig
from fspo_jax.config.scorers import FeatureScorerConfig


@dataclass(frozen=True)
class BaselineConfig:
    """A method that is not meta-trained; `evaluation.baselines` makes it.

    Attributes:
        kind: `isotropic_gp` and `per_user_logistic` learn from the user's own pairs alone: a Gaussian process on the
            features as they are, and L2 logistic regression on standardised ones. `length` always picks the longer
            response. `majority` and `bayes_optimal` are ceilings: the vote of the training users who judged the same
            pair (else a tie), which bounds any reward that is the same for everybody; and the posterior under the
            true generator of a synthetic world (ties for other people).
    """

    kind: Literal["isotropic_gp", "per_user_logistic", "length", "majority", "bayes_optimal"]

    @property
    def reads_features(self) -> bool:
        """Whether it reads features of the texts, so that the encoder matters."""
        return self.kind not in ("length", "majority", "bayes_optimal")


@dataclass(frozen=True)
class ItemIdentityConfig:
    """A collaborative filter, as a ceiling: the preferential Gaussian process on random codes of the responses.

    It knows which response it sees but not what the response says, so it predicts only where others judged the same.
    """

    kind: Literal["item_identity"]


@dataclass(frozen=True)
class MethodConfig:
    """One row of a benchmark.

    Attributes:
        name: In the tables.
        model: A scorer of features, which is meta-trained, or a method that is not.
        tail_fraction: As of a run.
        mismatched: A control: meta-train it with `episodes.mismatched`, on contexts of other users.
        adapters: A run or exported reward whose encoder adapters this method's features are made with; empty for the
            benchmark's encoder as it is. A `transfer_gp` also reads their approval, where they have one. A fold leaves
            out sources, not what the adapters were trained on.
    """

    name: str
    model: Union[FeatureScorerConfig, BaselineConfig, ItemIdentityConfig]
    tail_fraction: Share = 1.0
    mismatched: bool = False
    adapters: str = ""


HEADLINE_SHOTS = 8


@dataclass(frozen=True)
class TrialConfig:
    """One setting of the tuning, the same for every meta-trained method."""

    learning_rate: Positive
    weight_decay: NotNegative
    feature_dropout: ProbabilityBelowOne


@dataclass(frozen=True)
class BenchmarkConfig:
    """Methods x sources x shots x seeds.

    Attributes:
        hold_out: `users`: all sources are trained on, and other people of the same sources are judged. `sources`: each
            source in turn is left out of training and judged, so that people and topics are new.
        seeds: Training seeds, from 0.
        users: Largest number of users of a source that are judged.
        queries: Largest number of queries a user.
        shots: Numbers of shots.
        trials: Tried by every meta-trained method with seed 0; the smallest log loss on meta-validation users decides.
        features: Blocks that every method reads, without `approval`, which depends on a method's adapters.
        amplitudes: The same for methods without meta-training: prior deviations of a typical margin.
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
    encoder: EncoderConfig = EncoderConfig()  # noqa: RUF009
    features: tuple[FeatureBlockConfig, ...] = DEFAULT_FEATURES
    episodes: EpisodeConfig = EpisodeConfig()  # noqa: RUF009

    @property
    def headline_shots(self) -> int:
        """Those that the report is about: the most up to 8, or the fewest where all are more."""
        return max((k for k in self.shots if k <= HEADLINE_SHOTS), default=min(self.shots))
