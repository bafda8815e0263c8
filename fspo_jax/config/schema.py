"""What can be configured: frozen, typed values. What decides a result has no default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

ATTENTION_BLOCK = 64
"""Tokens a block of the fast attention; row lengths are multiples of it."""

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

    seed: int
    personas: int
    prompts: int
    kind: Literal["personas"] = "personas"
    domains: tuple[Domain, ...] = ("reviews", "elix_easy", "elix_hard", "roleplay")
    responses: int = 8
    pairs: int = 48
    label_noise: float = 0.0
    name: str = "personas"


@dataclass(frozen=True)
class TraitSource:
    """Personas that are trait vectors over labelled statements (`trait`, `statement`, `holder_says`)."""

    seed: int
    path: str
    personas: int
    kind: Literal["traits"] = "traits"
    traits: int = 4
    pairs: int = 32
    label_noise: float = 0.0
    name: str = "traits"


@dataclass(frozen=True)
class CandidateSource:
    """Personas that are utilities over style and content of an unlabelled multi-candidate corpus."""

    seed: int
    path: str
    personas: int
    kind: Literal["candidates"] = "candidates"
    pairs: int = 32
    label_noise: float = 0.0
    name: str = "candidates"


@dataclass(frozen=True)
class PreferenceSource:
    """Real preferences: a file, a directory or a `datasets` id of rows `user_id, prompt, chosen, rejected`.

    Attributes:
        strict: Raise at the first bad row instead of setting bad rows aside.
        name: Source name in reports; the file's stem when empty.
    """

    path: str
    kind: Literal["preferences"] = "preferences"
    strict: bool = False
    name: str = ""


@dataclass(frozen=True)
class DataConfig:
    """Where users come from and how they are split. Splits share no user."""

    sources: tuple[PersonaSource | TraitSource | CandidateSource | PreferenceSource, ...]
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0


@dataclass(frozen=True)
class EncoderConfig:
    """The text encoder and the features made of it.

    Attributes:
        model: `all-MiniLM-L6-v2`, a local directory, or a hub id of the BERT family.
        recipe: How prompt and response enter, see `models.features`.
        hidden_layer: Append the mean hidden state of this layer, 1 is the first and 0 for none. Early layers say how
            a text is worded, the embedding what it is about.
        style: Append the cheap style features.
        adapters: A run or exported reward whose encoder adapters are used, frozen; empty for none.
        adapter_rank: Rank of adapters that are meta-trained with the scorer, end to end; 0 trains none.
        cache: Directory of the embedding cache; empty for the user's cache folder.
    """

    model: str = "all-MiniLM-L6-v2"
    recipe: Literal["response", "joint", "interaction"] = "response"
    hidden_layer: int = 2
    style: bool = True
    adapters: str = ""
    adapter_rank: int = 0
    cache: str = ""


@dataclass(frozen=True)
class EpisodeConfig:
    """Shape of an episode.

    Attributes:
        batch_size: Episodes a step.
        max_context: Largest number of shots; K is drawn from 0..max_context.
        zero_shot_probability: Share of episodes without context, beyond those drawn; they teach the population reward.
        flip_probability: Probability of reversing all labels of an episode, context and queries.
    """

    batch_size: int = 64
    max_context: int = 16
    queries: int = 8
    zero_shot_probability: float = 0.25
    flip_probability: float = 0.0


@dataclass(frozen=True)
class PreferentialGPConfig:
    """Preferential Gaussian process: population reward plus a kernel on a learned feature map."""

    kind: Literal["preferential_gp"]
    hidden: int = 128
    width: int = 64
    newton_steps: int = 8


@dataclass(frozen=True)
class SetTransformerConfig:
    """Set transformer over embeddings of the context pairs."""

    kind: Literal["set_transformer"]
    width: int = 128
    heads: int = 4
    layers: int = 2


@dataclass(frozen=True)
class LowRankConfig:
    """Low-rank reward basis: LoRe (`simplex`, no hidden layer), PReF (`free`), RFM (`free`, hidden layer).

    Attributes:
        rank: Number of base rewards.
        weights: A user's weights lie on the simplex, or are free with a quadratic penalty.
        hidden: Width of the basis' hidden layer; 0 for a linear basis.
    """

    kind: Literal["low_rank"]
    rank: int = 16
    weights: Literal["simplex", "free"] = "free"
    hidden: int = 0


@dataclass(frozen=True)
class PrototypesConfig:
    """Prototypical ideal points: PAL."""

    kind: Literal["prototypes"]
    prototypes: int = 8
    width: int = 32
    hidden: int = 128


@dataclass(frozen=True)
class GroupPreferenceConfig:
    """Transformer neural process: GPO."""

    kind: Literal["group_preference"]
    width: int = 128
    heads: int = 4
    layers: int = 3


@dataclass(frozen=True)
class VariationalConfig:
    """Gaussian latent of the user: VPL.

    Attributes:
        divergence: Weight of the divergence of the posterior from the prior.
        swap: Weight of the swap-guided penalty; 0 for VPL as published.
    """

    kind: Literal["variational"]
    latent: int = 32
    hidden: int = 128
    divergence: float = 0.001
    swap: float = 0.0


@dataclass(frozen=True)
class MetaRewardConfig:
    """MAML on the weights of base rewards: MRM."""

    kind: Literal["meta_reward"]
    bases: int = 16
    hidden: int = 128
    inner_steps: int = 3


@dataclass(frozen=True)
class FastWeightsConfig:
    """Closed-form fast weights: P-TTT."""

    kind: Literal["fast_weights"]
    hidden: int = 128
    width: int = 64


@dataclass(frozen=True)
class MixtureConfig:
    """Mixture of reward heads: MaxMin-RLHF."""

    kind: Literal["mixture"]
    groups: int = 4
    hidden: int = 128


@dataclass(frozen=True)
class LanguageModelConfig:
    """A causal language model that reads a user's labelled pairs as tokens, or whose hidden states a kernel reads.

    Attributes:
        reward: `implicit`: `beta` (log pi - log pi_ref), as in FSPO. `scalar`: a linear head on the hidden state at a
            response's end. `gaussian_process`: the preferential Gaussian process on those hidden states; the model
            then reads each pair alone and the labels enter in closed form.
        base: Directory of a checkpoint (`config.json`, `tokenizer.json`, safetensors), or of a trained run; empty to
            begin from scratch with the sizes below and a tokenizer learned from the training texts.
        template: `structured` is safe against texts that imitate structure; `fspo_v1` is FSPO's markdown.
        layout: Whether shots see the shots before them (`sequential`) or stand side by side (`parallel`).
        shot_span: Positions of a shot in the parallel layout; longer shots are dropped, and counted.
        row_length: Tokens a row; several episodes are packed into one.
        lora_rank: Rank of the adapters that are trained; 0 trains everything.
        beta: Strength of the implicit reward, nats of reward a nat of log-probability.
        description_weight: Weight of predicting the user's description from the context, in nats a token, beside the
            objective. Above 0, half of the episodes are given the description instead, as FSPO's two stages do.
        label_smoothing: Share of labels taken to be wrong, for `dpo` and `bradley_terry`.
        distinct_batches: Batches of episodes after which they begin again; 0 draws new ones at every step. Fixed ones
            are encoded by the reference once, in the first round, if the objective has one.
        micro_batches: Parts into which the rows of a step are cut, to save memory; the gradient is the same.
        compute: Type of activations; parameters and optimizer stay in float32.
        attention: `xla` runs everywhere, `pallas` is the block-sparse kernel for GPU and TPU.
        remat: What the backward pass computes again: nothing, all but matrix products, or everything.
        vocabulary, width, layers, heads, kv_heads: Sizes from scratch.
    """

    kind: Literal["language_model"]
    reward: Literal["implicit", "scalar", "gaussian_process"]
    base: str = ""
    template: Literal["structured", "fspo_v1"] = "structured"
    layout: Literal["sequential", "parallel"] = "sequential"
    shot_span: int = 512
    row_length: int = 2048
    lora_rank: int = 0
    beta: float = 0.01
    description_weight: float = 0.0
    label_smoothing: float = 0.0
    distinct_batches: int = 0
    micro_batches: int = 1
    compute: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["xla", "pallas"] = "xla"
    remat: Literal["none", "dots", "full"] = "none"
    vocabulary: int = 4096
    width: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2


@dataclass(frozen=True)
class PopulationConfig:
    """One reward for everybody: Bradley-Terry on the features, blind to the context."""

    kind: Literal["population"]
    hidden: int = 128


FeatureScorerConfig = Union[
    PreferentialGPConfig,
    SetTransformerConfig,
    PopulationConfig,
    LowRankConfig,
    PrototypesConfig,
    GroupPreferenceConfig,
    VariationalConfig,
    MetaRewardConfig,
    FastWeightsConfig,
    MixtureConfig,
]
"""Scorers of features."""

ScorerConfig = Union[FeatureScorerConfig, LanguageModelConfig]


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine decay to zero."""

    learning_rate: float
    warmup_steps: int = 50
    weight_decay: float = 0.01
    clip_norm: float = 1.0


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a meta-training run.

    Attributes:
        tail_fraction: Share of the episodes of a step, those with the largest losses, that its loss is the mean of; 1
            for all. Scorers of features only.
        steps_per_dispatch: Steps inside one compiled call (`lax.scan`).
        feature_dropout: Probability of zeroing a feature of an item in training; few texts are else learned by heart.
        evaluate_every: Steps between evaluations on meta-validation users and checkpoints.
        population_baseline: Also train the population model, for reports, into `<run>/population`; not beside a
            language model, whose zero shots are its population reward.
        devices: Devices of the mesh; 0 takes all. Those that `fsdp` and `tensor` do not use divide the batch.
        fsdp: Devices that divide parameters and batch between them; language models only.
        tensor: Devices that divide each matrix product between them; language models only.
    """

    seed: int
    steps: int
    objective: Literal["bradley_terry", "ipo", "dpo", "sft"]
    data: DataConfig
    scorer: ScorerConfig
    optimizer: OptimizerConfig
    encoder: EncoderConfig = EncoderConfig()
    episodes: EpisodeConfig = EpisodeConfig()
    feature_dropout: float = 0.0
    tail_fraction: float = 1.0
    steps_per_dispatch: int = 50
    evaluate_every: int = 200
    population_baseline: bool = True
    devices: int = 0
    fsdp: int = 1
    tensor: int = 1
