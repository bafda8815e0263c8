"""The config of each scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

from fspo_jax.config.ranges import Count, CountFromZero, Noise, NotNegative, Positive

ATTENTION_BLOCK = 64
"""Number of tokens per block of the Pallas attention. Row lengths must be multiples of it."""


@dataclass(frozen=True)
class PreferentialGPConfig:
    """Preferential Gaussian process: a population reward plus a kernel on a learned feature map."""

    kind: Literal["preferential_gp"]
    hidden: Count = 128
    width: Count = 64
    newton_steps: Count = 8


@dataclass(frozen=True)
class ThreeLevelGPConfig:
    """Gaussian process of everyone, a community and a person, with few parameters. Needs the `style` block.

    Attributes:
        components: Number of sizes of a person's amplitudes, among which the person's pairs choose. Each size comes in
            several variants: one for each wide block of features, which that block dominates.
        community_components: Number of sets of amplitudes of a community, among which its people's pairs choose.
    """

    kind: Literal["three_level_gp"]
    components: Count = 4
    community_components: Count = 3
    newton_steps: Count = 8


@dataclass(frozen=True)
class SetTransformerConfig:
    """Set transformer over embeddings of the context pairs."""

    kind: Literal["set_transformer"]
    width: Count = 128
    heads: Count = 4
    layers: Count = 2


@dataclass(frozen=True)
class LowRankConfig:
    """Low-rank reward basis: LoRe (`simplex`, no hidden layer), PReF (`free`), RFM (`free`, hidden layer).

    Attributes:
        rank: Number of base rewards.
        weights: `simplex`: a user's weights are positive and add up to 1. `free`: they have a quadratic penalty.
        basis_hidden: Width of the hidden layer of the basis; 0 for a linear basis.
    """

    kind: Literal["low_rank"]
    rank: Count = 16
    weights: Literal["simplex", "free"] = "free"
    basis_hidden: CountFromZero = 0


@dataclass(frozen=True)
class PrototypesConfig:
    """Prototypical ideal points: PAL."""

    kind: Literal["prototypes"]
    prototypes: Count = 8
    width: Count = 32
    hidden: Count = 128


@dataclass(frozen=True)
class GroupPreferenceConfig:
    """Transformer neural process: GPO."""

    kind: Literal["group_preference"]
    width: Count = 128
    heads: Count = 4
    layers: Count = 3


@dataclass(frozen=True)
class VariationalConfig:
    """Gaussian latent variable of the user: VPL.

    Attributes:
        divergence: Weight of the divergence of the posterior from the prior.
        swap: Weight of the swap-guided penalty; 0 for the published VPL.
    """

    kind: Literal["variational"]
    latent: Count = 32
    hidden: Count = 128
    divergence: NotNegative = 0.001
    swap: NotNegative = 0.0


@dataclass(frozen=True)
class MetaRewardConfig:
    """MAML on the weights of base rewards: MRM."""

    kind: Literal["meta_reward"]
    bases: Count = 16
    hidden: Count = 128
    inner_steps: Count = 3


@dataclass(frozen=True)
class FastWeightsConfig:
    """Closed-form fast weights: P-TTT."""

    kind: Literal["fast_weights"]
    hidden: Count = 128
    width: Count = 64


@dataclass(frozen=True)
class MixtureConfig:
    """Mixture of reward heads: MaxMin-RLHF."""

    kind: Literal["mixture"]
    groups: Count = 4
    hidden: Count = 128


@dataclass(frozen=True)
class LanguageModelConfig:
    """A causal language model that reads a user's labelled pairs as tokens, or gives features to a Gaussian process.

    Attributes:
        reward: `implicit`: `beta` (log pi - log pi_ref), as in FSPO. `scalar`: a linear head on the hidden state at the
            end of a response. `gaussian_process`: the preferential Gaussian process on these hidden states; the model
            then reads each pair by itself, and the labels enter in closed form.
        base: What training starts from: the directory of a checkpoint (`config.json`, `tokenizer.json`, safetensors) or
            of a trained run; `fspo-lm`, whose adapters are merged into its base; a GGUF file; `smollm2-135m` or
            `gemma-3-270m`, from packages of the Python index; a hub id; or a directory of PEFT, whose adapters are
            merged into the base that it names. If empty, training starts from scratch, with the sizes below and a
            tokenizer learned from the training texts.
        template: `structured`: texts cannot imitate structure. `fspo_v1`: the markdown of FSPO.
        layout: `sequential`: shots see the shots before them. `parallel`: they do not see each other.
        shot_span: Number of positions per shot in the parallel layout. Longer shots are dropped and counted.
        row_length: Number of tokens per row. Several episodes are packed into one row.
        context_length: Number of tokens of a row that a context may take; the oldest shots of a longer one are dropped,
            in training and afterwards alike. 0 leaves room for the longest pair of training, and at least half of the
            row for contexts.
        lora_rank: Rank of the adapters that are trained; 0 trains all parameters.
        split_layer: Number of lower layers that are not trained and read each text by itself: a response behind its own
            prompt, in the chat format of the base. Their outputs are computed once per text and cached on disk. Only
            the layers above have adapters and read contexts. 0 for none. Needs `base` and `lora_rank`.
        pool: Number of neighbouring tokens of a response whose outputs of the lower layers are averaged, so that rows
            are shorter; with the `implicit` reward in contexts only. 1 for none. Needs `split_layer`.
        beta: Strength of the implicit reward, in nats of reward per nat of log-probability.
        description_weight: Weight of the loss of predicting the user's description from the context, in nats per token.
            Above 0, half of the episodes are given the description instead, as in the two stages of FSPO.
        label_smoothing: Share of labels taken to be wrong, for `dpo` and `bradley_terry`.
        distinct_batches: Number of different batches, which are then repeated; 0 for new batches at every step. With
            repeated batches the reference, if the objective has one, computes each of them once.
        output_tokens: Number of tokens from which training estimates the normaliser of the probabilities of responses:
            those of its texts, and others drawn at random for each batch. 0 for the whole vocabulary, whose logits are
            two thirds of the operations of a small model. Scores and what is written know the whole vocabulary. For the
            `implicit` reward.
        micro_batches: Number of parts into which the rows of a step are divided, to save memory. The gradient is the
            same.
        compute: Type of activations. Parameters and optimizer state are float32.
        attention: `xla` runs everywhere. `pallas` is the block-sparse kernel for GPUs, which is slow on a CPU.
        remat: What the backward pass computes again: nothing, all but matrix products, or everything.
        vocabulary, width, layers, heads, kv_heads: Sizes of a model from scratch.
    """

    kind: Literal["language_model"]
    reward: Literal["implicit", "scalar", "gaussian_process"]
    base: str = ""
    template: Literal["structured", "fspo_v1"] = "structured"
    layout: Literal["sequential", "parallel"] = "sequential"
    shot_span: Count = 512
    row_length: Count = 2048
    context_length: CountFromZero = 0
    lora_rank: CountFromZero = 0
    split_layer: CountFromZero = 0
    pool: Count = 1
    beta: Positive = 0.01
    description_weight: NotNegative = 0.0
    label_smoothing: Noise = 0.0
    distinct_batches: CountFromZero = 0
    output_tokens: CountFromZero = 0
    micro_batches: Count = 1
    compute: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["xla", "pallas"] = "xla"
    remat: Literal["none", "dots", "full"] = "none"
    vocabulary: Count = 4096
    width: Count = 256
    layers: Count = 4
    heads: Count = 4
    kv_heads: Count = 2


@dataclass(frozen=True)
class PopulationConfig:
    """One reward for everybody: Bradley-Terry on the features. It does not read the context."""

    kind: Literal["population"]
    hidden: Count = 128


FeatureScorerConfig = Union[
    PreferentialGPConfig,
    ThreeLevelGPConfig,
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
