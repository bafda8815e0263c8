"""What can be configured: frozen, typed values. What decides a result has no default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fspo_jax.config.features import DEFAULT_FEATURES, FeatureBlockConfig
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
    """The synthetic persona world, made in memory.

    Attributes:
        personas, prompts: Number a domain, over all splits.
        pairs: Labelled pairs a persona, each of another prompt where there are enough.
        label_noise: Probability that a label is flipped after the Bradley-Terry draw.
        name: Source name in reports.
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
    """Personas that are trait vectors over labelled statements (`trait`, `statement`, `holder_says`).

    Attributes:
        personas: Over all splits.
        traits: That a persona has an opinion of.
        pairs: Labelled pairs a persona.
        part: `first` takes about three quarters of the traits and `last` the others, always the same: traits of the one
            part say how far something that was trained on the other carries. A few statements stand under traits of
            both.
        norms: A TOML file of the share of people who hold each trait. Personas are then typical people over the traits
            in it; without, every trait is held by half of them.
        statements: Largest number of statements of each side of a trait in a split.
        cohort: Personas that share a few statements of a few traits. All episodes of a training step are then of one
            cohort, so that one pass of an encoder serves many episodes. 0 for personas that share nothing. All sources
            of a run need the same cohort.
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
    """Personas that are utilities over an unlabelled multi-candidate corpus.

    Attributes:
        personas: Over all splits.
        models: How many of the corpus's models a persona has a liking for, each of its own; it labels responses of
            these alone. At least 2, or 0 for personas with a taste in style, whoever wrote it.
        norms: A TOML file of what people in general think of each model, in standard deviations between people.
            Personas are then typical raters of the models in it; without, every model is liked as much as another.
            Needs `models`.
        pairs: Labelled pairs a persona; fewer come back where its models wrote fewer.
        cohort: Personas that share a few prompts and models, as in `TraitSource`; needs `models`.
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
    """Real preferences: a file, a directory or a `datasets` id of rows of any shape that `load_users` knows.

    Attributes:
        path: Of the rows, relative to the current directory; or `sample:NAME`, people that come with the package.
        format: `auto` (the columns tell), `rows`, `winner`, `ratings` or `kto`; or the name of a published data set,
            such as `prism`.
        columns: Which of your columns is which, `prompt=question,chosen=better,user_id=annotator`; empty where the
            names are known ones.
        strict: Raise at the first bad row instead of setting bad rows aside.
        name: Source name in reports; the file's stem when empty.
    """

    path: str
    kind: Literal["preferences"] = "preferences"
    format: str = "auto"
    columns: str = ""
    strict: bool = False
    name: str = ""


@dataclass(frozen=True)
class DataConfig:
    """Where users come from and how they are split. Splits share no user."""

    sources: tuple[PersonaSource | TraitSource | CandidateSource | PreferenceSource, ...]
    validation_fraction: ProbabilityBelowOne = 0.1
    test_fraction: ProbabilityBelowOne = 0.2
    split_seed: CountFromZero = 0

    @property
    def cohort(self) -> int:
        """Users of a cohort, the same for every source; 0 where users share no texts on purpose."""
        return getattr(self.sources[0], "cohort", 0)


@dataclass(frozen=True)
class EncoderConfig:
    """The text encoder, its adapters and the cache. `TrainConfig.features` says what is read of it.

    Attributes:
        model: `all-MiniLM-L6-v2`, a local directory, or a hub id of the BERT family.
        adapters: A run or exported reward whose encoder adapters are used, frozen; empty for none.
        adapter_rank: Rank of adapters that are meta-trained with the scorer, end to end; 0 trains none.
        adapter_layers: How many layers, the last ones, have adapters.
        adapter_learning_rate: Of the adapters, at its largest; 0 for that of the scorer.
        frozen_steps: Steps of the scorer alone, on the encoder as it is, before adapters are trained beside it: these
            are a hundred times as fast. A multiple of the run's `evaluate_every`.
        cache: Directory of the feature cache; empty for the user's cache folder.
    """

    model: str = "all-MiniLM-L6-v2"
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
        batch_size: Episodes a step.
        max_context: Largest number of shots; K is drawn from 0..max_context.
        zero_shot_probability: Share of episodes without context, beyond those drawn; they teach the population reward.
        flip_probability: Probability of reversing all labels of an episode, context and queries.
        mismatched: Replace every training context by that of another user of the same source, drawn anew for every
            episode. A control: what such a model learns from a context is not about its user.
    """

    batch_size: Count = 64
    max_context: CountFromZero = 16
    queries: Count = 8
    zero_shot_probability: Probability = 0.25
    flip_probability: Probability = 0.0
    mismatched: bool = False


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
        features: Blocks of features that the scorer reads of a response. Language models read none.
        tail_fraction: Share of the episodes of a step, those with the largest losses, that its loss is the mean of; 1
            for all. Scorers of features only.
        steps_per_dispatch: Steps inside one compiled call (`lax.scan`).
        feature_dropout: Probability of zeroing a feature of an item in training; few texts are else learned by heart.
        evaluate_every: Steps between evaluations on meta-validation users and checkpoints.
        early_stopping: Stop after so many evaluations in a row of which none had a smaller log loss on meta-validation
            users than the best before them; 0 takes all steps. The exported reward is that of the best evaluation
            either way. The learning rate decays as if all steps were taken.
        population_baseline: Also train the population model, for reports, into `<run>/population`; not beside a
            language model, whose zero shots are its population reward.
        mismatched_baseline: Also train the same scorer with `episodes.mismatched`, for reports, into
            `<run>/mismatched`. Where adapters are trained, the baselines read the features of the adapted encoder.
        devices: Devices of the mesh; 0 takes all. Those that `fsdp` and `tensor` do not use divide the batch.
        fsdp: Devices that divide parameters and batch between them; language models only.
        tensor: Devices that divide each matrix product between them; language models only.
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
    feature_dropout: ProbabilityBelowOne = 0.0
    tail_fraction: Share = 1.0
    steps_per_dispatch: Count = 50
    evaluate_every: Count = 200
    early_stopping: CountFromZero = 0
    population_baseline: bool = True
    mismatched_baseline: bool = False
    devices: CountFromZero = 0
    fsdp: Count = 1
    tensor: Count = 1
