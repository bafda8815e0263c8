"""Frozen, typed configuration and the one strict TOML reader. No other module knows the file format.

What decides a result (seed, steps, learning rate, objective, scorer) has no default.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

from fspo_jax.errors import ConfigError, did_you_mean

Domain = Literal["reviews", "elix_easy", "elix_hard", "roleplay"]


@dataclass(frozen=True)
class PersonaSource:
    """The synthetic persona world, made in memory.

    Attributes:
        personas: Number of personas a domain, over all splits.
        prompts: Number of prompts a domain, over all splits.
        responses: Responses a prompt.
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
        style: Append the cheap style features.
        cache: Directory of the embedding cache; empty for the user's cache folder.
    """

    model: str = "all-MiniLM-L6-v2"
    recipe: Literal["response", "joint", "interaction"] = "response"
    style: bool = True
    cache: str = ""


@dataclass(frozen=True)
class EpisodeConfig:
    """Shape of an episode.

    Attributes:
        batch_size: Episodes a step.
        max_context: Largest number of shots; K is drawn from 0..max_context.
        queries: Queries an episode.
        flip_probability: Probability of reversing all labels of an episode, context and queries.
    """

    batch_size: int = 64
    max_context: int = 16
    queries: int = 8
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
        steps: Optimizer steps.
        steps_per_dispatch: Steps inside one compiled call (`lax.scan`).
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
        siblings = [str(p) for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise ConfigError(f"{path}: no such config file.{did_you_mean(str(path), siblings)}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for override in overrides:
        _override(tree, override)
    return config_from_dict(tree)


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
    if not equals or not key.strip():
        raise ConfigError(f"override '{text}' must look like optimizer.learning_rate=3e-4.")
    *parents, last = key.strip().split(".")
    node: Any = tree
    for name in parents:
        node = node[int(name)] if isinstance(node, list) and name.isdigit() and int(name) < len(node) else (
            node.setdefault(name, {}) if isinstance(node, dict) else None
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    if isinstance(node, dict):
        node[last] = parsed
    else:
        raise ConfigError(f"override '{text}': '{'.'.join(parents)}' is not a table of the config.")


def _build(kind: type, tree: Any, path: str) -> Any:
    """Builds dataclass `kind` from a mapping; `path` is the dotted prefix for messages."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path.rstrip('.')}: must be a table, not {tree!r}.")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in tree:
        if key not in fields:
            raise ConfigError(
                f"unknown key '{path}{key}'.{did_you_mean(key, fields)} Known: {', '.join(fields)}."
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
            raise ConfigError(f"'{path}' must be a list, not {value!r}.")
        return tuple(_convert(arguments[0], item, f"{path}.{i}") for i, item in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(
                f"'{path}' is {value!r}.{did_you_mean(str(value), map(str, arguments))} "
                f"Known: {', '.join(map(repr, arguments))}."
            )
        return value
    if origin in (Union, types.UnionType):  # tagged by `kind`
        tags = {typing.get_args(typing.get_type_hints(member)["kind"])[0]: member for member in arguments}
        tag = value.get("kind") if isinstance(value, Mapping) else None
        if tag not in tags:
            raise ConfigError(
                f"'{path}.kind' is {tag!r}.{did_you_mean(str(tag), tags)} Known: {', '.join(tags)}."
            )
        return _build(tags[tag], value, path + ".")
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, path + ".")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"'{path}' must be {hint.__name__}, not {value!r}.")
    return value


def _check_values(config: TrainConfig) -> None:
    """Ranges that types cannot say."""
    positive = {
        "steps": config.steps,
        "steps_per_dispatch": config.steps_per_dispatch,
        "evaluate_every": config.evaluate_every,
        "episodes.batch_size": config.episodes.batch_size,
        "episodes.queries": config.episodes.queries,
        "optimizer.learning_rate": config.optimizer.learning_rate,
        "data.sources": len(config.data.sources),
    }
    for name, value in positive.items():
        if not value > 0:
            raise ConfigError(f"'{name}' must be positive, not {value}.")
    if config.evaluate_every % config.steps_per_dispatch:
        raise ConfigError(
            f"'evaluate_every' ({config.evaluate_every}) must be a multiple of "
            f"'steps_per_dispatch' ({config.steps_per_dispatch})."
        )
    shares = (config.data.validation_fraction, config.data.test_fraction, config.episodes.flip_probability)
    if any(not 0 <= share < 1 for share in shares) or sum(shares[:2]) >= 1:
        raise ConfigError("fractions and probabilities of the config must lie in [0, 1), with some users left to train.")
    if config.episodes.max_context < 0 or config.devices < 0:
        raise ConfigError("'episodes.max_context' and 'devices' must not be negative.")
