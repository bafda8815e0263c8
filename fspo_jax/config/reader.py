"""Reads configs from TOML files, strictly. No other module knows the file format."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from fspo_jax.arguments import check_path, check_texts, shown
from fspo_jax.config.benchmark import BenchmarkConfig
from fspo_jax.config.checks import check_benchmark, check_trainable, check_values
from fspo_jax.config.removed import removed_key
from fspo_jax.config.schema import TrainConfig
from fspo_jax.errors import ConfigError, did_you_mean, did_you_mean_path, errors_in


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Reads a TOML file strictly.

    Args:
        path: The file.
        overrides: Strings `key.path=value`. Values are TOML; bare words are strings.

    Raises:
        ConfigError: The file is missing or is not TOML, or a key is unknown, missing or has a wrong value. The message
            has the key's full path and the known names.
    """
    tree = _read(path, overrides)
    with errors_in(str(path)):
        config = config_from_dict(tree)
        check_trainable(config)
    return config


def load_benchmark(path: str | Path, overrides: Sequence[str] = ()) -> BenchmarkConfig:
    """Reads the TOML file of a benchmark; arguments and errors are those of `load_config`."""
    tree = _read(path, overrides)
    with errors_in(str(path)):
        config = _build(BenchmarkConfig, tree, "")
        check_benchmark(config)
    return config


def _read(path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    path = check_path(path, error=ConfigError)
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file.{did_you_mean_path(path) or _configs_nearby(path)}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also of a number with too many digits
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}.") from None
    for override in check_texts(overrides, "overrides"):
        _override(tree, override)
    return tree


def _configs_nearby(path: Path) -> str:
    """Names config files in the folder of a path that does not exist, and in `configs/` below it."""
    folder = next((parent for parent in path.parents if parent.is_dir()), Path())
    found = [*sorted(folder.glob("*.toml")), *sorted(folder.glob("configs/*.toml"))]
    names = [str(one) for one in found if one.name != "pyproject.toml"]
    return (
        f" Config files nearby: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}." if names else ""
    )


def config_from_dict(tree: Mapping[str, Any]) -> TrainConfig:
    """Makes a `TrainConfig` from nested mappings, as stored in checkpoints; raises `ConfigError`."""
    config = _build(TrainConfig, tree, "")
    check_values(config)
    return config


def config_to_dict(config: Any) -> dict[str, Any]:
    """The inverse of `config_from_dict`. The result has plain JSON types only."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return plain(dataclasses.asdict(config))


def check_config(config: TrainConfig) -> None:
    """Raises `ConfigError` for a config made in Python that could not be read back from a file."""
    config_from_dict(config_to_dict(config))


def _override(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(
            f"override '{text}' must look like optimizer.learning_rate=3e-4: a key, '=', a value."
        )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        parsed = value
    node: Any = tree
    for depth, name in enumerate(names):
        path, last = ".".join(names[:depth]), depth == len(names) - 1
        if isinstance(node, list):
            if not (name.isascii() and name.isdigit() and int(name) < len(node)):
                entries = "1 entry" if len(node) == 1 else f"{len(node)} entries"
                raise ConfigError(
                    f"override '{text}': '{path}' has {entries}, numbered from 0; '{name}' is not one of them."
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
    """Makes a dataclass `kind` from a mapping; `path` is the dotted prefix for messages."""
    if not isinstance(tree, Mapping):
        where = f"'{path.rstrip('.')}'" if path else "the config"
        raise ConfigError(f"{where} must be a table, not {tree!r:.80}.")
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in tree:
        if key not in fields:
            raise ConfigError(_unknown_key(path, str(key), fields))
    values = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = _convert(hints[name], tree[name], path + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f"missing key '{path}{name}'. It has no default, because it decides the result."
            )
    return kind(**values)


def _unknown_key(path: str, key: str, known: Collection[str]) -> str:
    if gone := removed_key(path + key):
        return f"'{path}{key}' is a key of an older version of fspo_jax. {gone}"
    return f"unknown key '{path}{key}'.{did_you_mean(key, known)} Known: {', '.join(known)}."


def _convert(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, int) and value.bit_length() > 64:
        raise ConfigError(f"'{path}' is {shown(value)}, a number of more than 64 bits.")
    if origin is Annotated:
        kind, allowed = arguments
        number = _convert(kind, value, path)
        if not allowed.accepts(number):
            whole = "whole number" if kind is int else "number"
            raise ConfigError(f"'{path}' must be a {whole} {allowed.words}, not {number}.")
        return number
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"'{path}' must be a list, not {value!r:.80}.")
        if not value:
            raise ConfigError(f"'{path}' must have at least one entry.")
        return tuple(_convert(arguments[0], item, f"{path}.{i}") for i, item in enumerate(value))
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(
                f"'{path}' is {value!r:.80}.{did_you_mean(str(value), map(str, arguments))} "
                f"Known: {', '.join(map(repr, arguments))}."
            )
        return value
    if origin in (Union, types.UnionType):  # tagged by `kind`
        tags = {
            kind: member
            for member in arguments
            for kind in typing.get_args(typing.get_type_hints(member)["kind"])
        }
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
