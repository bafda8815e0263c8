"""The config of training runs: frozen, typed values. Keys that decide a result have no default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fspo_jax.config.features import DEFAULT_FEATURES, FeatureBlockConfig, fits_features
from fspo_jax.config.ranges import (
    Count,
    CountFromTwo,
    CountFromZero,
    Noise,
    NotNegative,
    Positive,
    Probability,
    ProbabilityBelowOne,
    Share,
)
from fspo_jax.config.scorers import ScorerConfig

Domain = Literal["reviews", "elix_easy", "elix_hard", "roleplay"]


@dataclass(frozen=True)
class PersonaSource:
    """Personas of the synthetic world, made in memory.

    Attributes:
        personas, prompts: Number of personas and of prompts per domain, over all splits.
        pairs: Labelled pairs per persona, with different prompts if there are enough.
        label_noise: Probability that a label is flipped after it was drawn by the Bradley-Terry model.
        name: Name of the source in reports.
    """

    seed: CountFromZero
    personas: Count
    prompts: Count
    kind: Literal["personas"] = "personas"
    domains: tuple[Domain, ...] = ("reviews", "elix_easy", "elix_hard", "roleplay")
    responses: CountFromTwo = 8
    pairs: Count = 48
    label_noise: Noise = 0.0
    name: str = "personas"


@dataclass(frozen=True)
class TraitSource:
    """Personas with traits, made from statements that people with and without a trait would make.

    Rows have the columns `trait`, `statement` and `holder_says`.

    Attributes:
        personas: Number of personas over all splits.
        traits: Number of traits per persona.
        pairs: Labelled pairs per persona.
        part: `first` uses about three quarters of the traits, `last` the others, and `all` all of them. A trait is
            always in the same part, so that what was trained on one part can be tested on the other. A few statements
            belong to traits of both parts.
        norms: A TOML file with the share of people who have each trait. Personas then have the traits in the file with
            these probabilities. Without it, every trait has probability one half.
        statements: Largest number of statements per side of a trait in a split.
        cohort: Number of personas that share a few statements about a few traits. All episodes of a training step then
            belong to one cohort, so that one pass of an encoder serves many episodes. 0 for personas that share
            nothing. All sources of a run need the same cohort.
    """

    seed: CountFromZero
    path: str
    personas: Count
    kind: Literal["traits"] = "traits"
    traits: Count = 4
    pairs: Count = 32
    part: Literal["all", "first", "last"] = "all"
    norms: str = ""
    statements: Count = 40
    cohort: CountFromZero = 0
    label_noise: Noise = 0.0
    name: str = "traits"


@dataclass(frozen=True)
class CandidateSource:
    """Personas that like some models or some styles, made from a corpus with several responses per prompt.

    Attributes:
        personas: Number of personas over all splits.
        models: Number of models that a persona has an opinion about. It labels responses of these models only. At least
            2; or 0 for personas that like a style, whichever model wrote the response.
        norms: A TOML file with the average opinion about each model, in standard deviations between people. Personas
            are then typical raters of the models in the file. Without it, all models are liked equally on average.
            Needs `models`.
        pairs: Labelled pairs per persona; fewer if its models wrote fewer.
        cohort: Number of personas that share a few prompts and models, as in `TraitSource`. Needs `models`.
    """

    seed: CountFromZero
    path: str
    personas: Count
    kind: Literal["candidates"] = "candidates"
    models: CountFromZero = 0
    norms: str = ""
    cohort: CountFromZero = 0
    pairs: Count = 32
    label_noise: Noise = 0.0
    name: str = "candidates"


@dataclass(frozen=True)
class PreferenceSource:
    """Preferences of real people: a file, a directory or a `datasets` id, in any shape that `load_users` reads.

    Attributes:
        path: Path of the rows, relative to the current directory; or `sample:NAME`, people who come with the package.
        format: `auto` (recognises the columns), `rows`, `winner`, `ratings` or `kto`; or the name of a published data
            set, such as `prism`.
        columns: Names of your columns, `prompt=question,chosen=better,user_id=annotator`; empty for known names.
        strict: Whether to raise at the first bad row instead of setting bad rows aside.
        name: Name of the source in reports; the file name without extension if empty.
    """

    path: str
    kind: Literal["preferences"] = "preferences"
    format: str = "auto"
    columns: str = ""
    strict: bool = False
    name: str = ""


@dataclass(frozen=True)
class DataConfig:
    """The sources of users, and how users are split. No user is in two splits."""

    sources: tuple[PersonaSource | TraitSource | CandidateSource | PreferenceSource, ...]
    validation_fraction: ProbabilityBelowOne = 0.1
    test_fraction: ProbabilityBelowOne = 0.2
    split_seed: CountFromZero = 0

    @property
    def cohort(self) -> int:
        """Number of users of a cohort, the same for all sources; 0 if users do not share texts on purpose."""
        return getattr(self.sources[0], "cohort", 0)


@dataclass(frozen=True)
class EncoderConfig:
    """The text encoder, its adapters and the cache. `TrainConfig.features` says which features it computes.

    Attributes:
        model: `all-MiniLM-L6-v2` or `all-mpnet-base-v2`, from packages of the Python index; a local directory; or a hub
            id. A language model (`smollm2-135m`, a GGUF file) is an encoder too.
        layer: Number of layers to compute. The embedding is made of the states of the last of them; 0 for all layers.
        pooling: How token vectors become one embedding: their mean, the first or the last; empty for what the model's
            files say, or else the mean.
        prefix: Text before every text, such as "query: " for E5; empty for the model's default prompt, if it has one.
        adapters: A run or exported reward whose encoder adapters are used without training; empty for none.
        adapter_rank: Rank of adapters that are meta-trained together with the scorer; 0 for none.
        adapter_layers: Number of layers with adapters, the last ones.
        adapter_learning_rate: Peak learning rate of the adapters; 0 for that of the scorer.
        frozen_steps: Number of first steps that train the scorer only, without adapters. They are about a hundred times
            as fast. A multiple of the run's `evaluate_every`.
        cache: Directory of the feature cache; empty for the user's cache directory.
    """

    model: str = "all-MiniLM-L6-v2"
    layer: CountFromZero = 0
    pooling: Literal["", "mean", "cls", "last"] = ""
    prefix: str = ""
    adapters: str = ""
    adapter_rank: CountFromZero = 0
    adapter_layers: Count = 3
    adapter_learning_rate: NotNegative = 0.0
    frozen_steps: CountFromZero = 0
    cache: str = ""


@dataclass(frozen=True)
class EpisodeConfig:
    """Shape of an episode.

    Attributes:
        batch_size: Number of episodes per step.
        max_context: Largest number of shots K. K is drawn from 0 to max_context.
        zero_shot_probability: Probability that an episode has no context, besides K = 0. Such episodes train the
            population reward.
        flip_probability: Probability of flipping all labels of an episode, of context and queries.
        mirrored: Whether every episode of a step comes with its mirror image, all labels flipped. What does not depend
            on the labels of a context then cancels in the gradient. `batch_size` counts both.
        mismatched: Whether to replace every training context by that of another user of the same source. A control:
            such a model cannot learn from a context what its user likes.
        communities: Number of communities per step, each for an equal part of the episodes, whose users are then of one
            source; 0 for none. For the scorer `three_level_gp`, which learns what people of a source have in common.
        community_people: Largest number of people of a community. Their number is drawn, and often nobody is known.
            What is learned holds for larger communities too.
        community_pairs: Largest number of pairs of each of them. At most 96 pairs in all.
    """

    batch_size: Count = 64
    max_context: CountFromZero = 16
    queries: Count = 8
    zero_shot_probability: Probability = 0.25
    flip_probability: Probability = 0.0
    mirrored: bool = False
    mismatched: bool = False
    communities: CountFromZero = 0
    community_people: Count = 12
    community_pairs: Count = 6


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine decay to zero."""

    learning_rate: Positive
    warmup_steps: CountFromZero = 50
    weight_decay: NotNegative = 0.01
    clip_norm: Positive = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a meta-training run.

    Attributes:
        sft_weight: Weight of the negative log-probability of the preferred response, in nats per token, which is added
            to the loss of `dpo` and `ipo` so that the policy still writes well; 0 for none. arXiv 2404.19733.
        features: Blocks of features that the scorer reads from a response. Language models read none.
        tail_fraction: Share of the episodes of a step to average the loss over, those with the largest losses; 1 for
            all. For scorers of features only.
        steps_per_dispatch: Number of steps in one compiled call (`lax.scan`).
        feature_dropout: Probability of setting a feature of an item to zero in training. Without it, a scorer memorises
            the texts if there are few.
        block_dropout: Probability of setting a whole block of features to zero in an episode of training. A reward that
            was trained so can be loaded without some of its blocks.
        evaluate_every: Number of steps between evaluations on meta-validation users, with a checkpoint each.
        early_stopping: Stop after this many evaluations in a row without a new smallest log loss on meta-validation
            users; 0 for all steps. In both cases the best evaluation decides the exported reward. The learning rate
            decays as if all steps were taken.
        start: A run, an exported or a shipped reward (`fspo-mini`) whose parameters training begins with; empty for new
            ones. It needs the same scorer and features. The start itself is evaluated too, and exported if no later
            evaluation is better. The baselines begin with new parameters.
        population_baseline: Whether to also train the population model, for reports, in `<run>/population`. Not for
            language models, whose zero shots are the population reward.
        mismatched_baseline: Whether to also train the same scorer with `episodes.mismatched`, for reports, in
            `<run>/mismatched`. If adapters are trained, the baselines read the features of the adapted encoder.
        devices: Number of devices; 0 for all. Those that `fsdp` and `tensor` do not use divide the batch.
        fsdp: Number of devices that divide parameters and batch; for language models only.
        tensor: Number of devices that divide each matrix product; for language models only.
    """

    seed: CountFromZero
    steps: Count
    objective: Literal["bradley_terry", "ipo", "dpo", "sft"]
    data: DataConfig
    scorer: ScorerConfig
    optimizer: OptimizerConfig
    encoder: EncoderConfig = EncoderConfig()
    features: tuple[FeatureBlockConfig, ...] = DEFAULT_FEATURES
    episodes: EpisodeConfig = EpisodeConfig()
    sft_weight: NotNegative = 0.0
    feature_dropout: ProbabilityBelowOne = 0.0
    block_dropout: ProbabilityBelowOne = 0.0
    tail_fraction: Share = 1.0
    steps_per_dispatch: Count = 50
    evaluate_every: Count = 200
    early_stopping: CountFromZero = 0
    start: str = ""
    population_baseline: bool = True
    mismatched_baseline: bool = False
    devices: CountFromZero = 0
    fsdp: Count = 1
    tensor: Count = 1

    @property
    def fits_features(self) -> bool:
        """Whether something is fitted for the features before the scorer is trained."""
        return fits_features(self.features)
