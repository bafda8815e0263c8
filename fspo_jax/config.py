"""Frozen, typed configuration and the one strict TOML reader. No other module knows the file format.

What decides a result (seed, steps, learning rate, objective, scorer) has no default.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

from fspo_jax.errors import ConfigError, did_you_mean, did_you_mean_path

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
    """The frozen text encoder and the features made of it.

    Attributes:
        model: `all-MiniLM-L6-v2`, a local directory, or a hub id of the BERT family.
        recipe: How prompt and response enter, see `models.features`.
        hidden_layer: Append the mean hidden state of this layer, 1 is the first and 0 for none. Early layers say how
            a text is worded, the embedding what it is about.
        style: Append the cheap style features.
        cache: Directory of the embedding cache; empty for the user's cache folder.
    """

    model: str = "all-MiniLM-L6-v2"
    recipe: Literal["response", "joint", "interaction"] = "response"
    hidden_layer: int = 2
    style: bool = True
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
class PopulationConfig:
    """One reward for everybody: Bradley-Terry on the features, blind to the context."""

    kind: Literal["population"]
    hidden: int = 128


ScorerConfig = Union[PreferentialGPConfig, SetTransformerConfig, PopulationConfig]


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
        steps_per_dispatch: Steps inside one compiled call (`lax.scan`).
        feature_dropout: Probability of zeroing a feature of an item in training; few texts are else learned by heart.
        evaluate_every: Steps between evaluations on meta-validation users and checkpoints.
        population_baseline: Also train the population model, for reports, into `<run>/population`.
        devices: Devices of the data axis of the mesh; 0 takes all.
    """

    seed: int
    steps: int
    objective: Literal["bradley_terry", "ipo"]
    data: DataConfig
    scorer: ScorerConfig
    optimizer: OptimizerConfig
    encoder: EncoderConfig = EncoderConfig()
    episodes: EpisodeConfig = EpisodeConfig()
    feature_dropout: float = 0.0
    steps_per_dispatch: int = 50
    evaluate_every: int = 200
    population_baseline: bool = True
    devices: int = 0


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Reads a TOML file strictly.

    Args:
        path: The file.
        overrides: `key.path=value` strings; values are TOML, bare words are strings.

    Raises:
        ConfigError: The file is missing or not TOML; a key is unknown, missing or mistyped. The message has
            the key's full path and the known names.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file.{did_you_mean_path(path)}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _override(tree, override)
    config = config_from_dict(tree)
    _check_trainable(config)
    return config


def config_from_dict(tree: Mapping[str, Any]) -> TrainConfig:
    """Builds a `TrainConfig` from nested mappings, as stored in checkpoints; raises `ConfigError`."""
    config = _build(TrainConfig, tree, "")
    _check_values(config)
    return config


def config_to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `config_from_dict`; plain JSON types only."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return plain(dataclasses.asdict(config))


def _override(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"override '{text}' must look like optimizer.learning_rate=3e-4.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    node: Any = tree
    for depth, name in enumerate(names):
        path, last = ".".join(names[:depth]), depth == len(names) - 1
        if isinstance(node, list):
            if not (name.isascii() and name.isdigit() and int(name) < len(node)):
                entries = "1 entry" if len(node) == 1 else f"{len(node)} entries"
                raise ConfigError(
                    f"override '{text}': '{path}' has {entries}, numbered from 0; '{name}' is none of them."
                )
            step: Any = int(name)
        elif isinstance(node, dict):
            step = name
            if not last:
                node.setdefault(name, {})
        else:
            raise ConfigError(f"override '{text}': '{path}' is not a table of the config.")
        if last:
            node[step] = parsed
        else:
            node = node[step]


def _build(kind: type, tree: Any, path: str) -> Any:
    """Builds dataclass `kind` from a mapping; `path` is the dotted prefix for messages."""
    if not isinstance(tree, Mapping):
        where = f"'{path.rstrip('.')}'" if path else "the config"
        raise ConfigError(f"{where} must be a table, not {tree!r:.80}.")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in tree:
        if key not in fields:
            raise ConfigError(
                f"unknown key '{path}{key}'.{did_you_mean(str(key), fields)} Known: {', '.join(fields)}."
            )
    values = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = _convert(hints[name], tree[name], path + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"missing key '{path}{name}' (no default: it decides the result).")
    return kind(**values)


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"'{path}' must be a list, not {value!r:.80}.")
        return tuple(_convert(arguments[0], item, f"{path}.{i}") for i, item in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(
                f"'{path}' is {value!r:.80}.{did_you_mean(str(value), map(str, arguments))} "
                f"Known: {', '.join(map(repr, arguments))}."
            )
        return value
    if origin in (Union, types.UnionType):  # tagged by `kind`
        tags = {typing.get_args(typing.get_type_hints(member)["kind"])[0]: member for member in arguments}
        tag = value.get("kind") if isinstance(value, Mapping) else None
        if not isinstance(tag, str) or tag not in tags:
            raise ConfigError(
                f"'{path}.kind' is {tag!r:.80}.{did_you_mean(str(tag), tags)} Known: {', '.join(tags)}."
            )
        return _build(tags[tag], value, path + ".")
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path + ".")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        kind = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[hint]
        raise ConfigError(f"'{path}' must be {kind}, not {value!r:.80}.")
    return value


_LARGEST = 2**31 - 1
_FROM_ZERO = ("seed", "split_seed", "max_context", "devices", "warmup_steps", "hidden_layer")
_SMALLEST = dict.fromkeys(_FROM_ZERO, 0) | {"responses": 2}  # 1 for all others

_RANGES = {
    "learning_rate": "above 0",
    "clip_norm": "above 0",
    "weight_decay": "0 or more",
    "zero_shot_probability": "from 0 to 1",
    "flip_probability": "from 0 to 1",
    "feature_dropout": "from 0 to below 1",
    "label_noise": "from 0 to 0.5",
    "validation_fraction": "from 0 to below 1",
    "test_fraction": "from 0 to below 1",
}
"""Range of every number that is not whole, by its key."""

_IN_RANGE = {
    "above 0": lambda value: value > 0,
    "0 or more": lambda value: value >= 0,
    "from 0 to 1": lambda value: 0 <= value <= 1,
    "from 0 to 0.5": lambda value: 0 <= value <= 0.5,
    "from 0 to below 1": lambda value: 0 <= value < 1,
}


def _check_ranges(value: Any, path: str) -> None:
    """Raises `ConfigError` for the first number out of range and for empty lists, anywhere below `path`."""
    name = path.rpartition(".")[2]
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            _check_ranges(getattr(value, field.name), f"{path}.{field.name}".lstrip("."))
    elif isinstance(value, tuple):
        if not value:
            raise ConfigError(f"'{path}' must have at least one entry.")
        for i, item in enumerate(value):
            _check_ranges(item, f"{path}.{i}")
    elif isinstance(value, int) and not isinstance(value, bool):
        smallest = _SMALLEST.get(name, 1)
        if not smallest <= value <= _LARGEST:
            raise ConfigError(f"'{path}' must be a whole number from {smallest} to {_LARGEST}, not {value}.")
    elif isinstance(value, float) and not (math.isfinite(value) and _IN_RANGE[_RANGES[name]](value)):
        raise ConfigError(f"'{path}' must be a number {_RANGES[name]}, not {value}.")


def _check_values(config: TrainConfig) -> None:
    """What types cannot say: ranges, and keys that must fit each other."""
    _check_ranges(config, "")
    data, scorer = config.data, config.scorer
    if data.validation_fraction + data.test_fraction >= 1:
        raise ConfigError(
            f"'data.validation_fraction' ({data.validation_fraction}) and 'data.test_fraction' "
            f"({data.test_fraction}) must leave some users to train on: their sum must be below 1."
        )
    if isinstance(scorer, SetTransformerConfig) and scorer.width % scorer.heads:
        raise ConfigError(
            f"'scorer.width' ({scorer.width}) must be a multiple of 'scorer.heads' ({scorer.heads})."
        )


def _check_trainable(config: TrainConfig) -> None:
    """What a run could not start with; a stored config may have it, since serving does not care."""
    for name, value in (("steps", config.steps), ("evaluate_every", config.evaluate_every)):
        if value % config.steps_per_dispatch:
            raise ConfigError(
                f"'{name}' ({value}) must be a multiple of 'steps_per_dispatch' ({config.steps_per_dispatch})."
            )
    if config.optimizer.warmup_steps >= config.steps:
        raise ConfigError(
            f"'optimizer.warmup_steps' ({config.optimizer.warmup_steps}) must be smaller than 'steps' "
            f"({config.steps})."
        )
