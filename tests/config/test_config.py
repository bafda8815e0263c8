"""The strict TOML reader: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import copy
import dataclasses
import random
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from fspo_jax.config import (
    BenchmarkConfig,
    TrainConfig,
    config_from_dict,
    config_to_dict,
    load_benchmark,
    load_config,
)
from fspo_jax.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))

MINIMAL = """
seed = 0
steps = 100
objective = "bradley_terry"

[[data.sources]]
kind = "personas"
seed = 1
personas = 20
prompts = 10

[scorer]
kind = "preferential_gp"

[optimizer]
learning_rate = 1e-3
"""


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "minimal.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    return path


def tree() -> dict:
    """The minimal config with every key written out."""
    import tomllib

    return config_to_dict(config_from_dict(tomllib.loads(MINIMAL)))


def test_load_minimal_fills_defaults_and_exponent_floats(minimal: Path) -> None:
    config = load_config(minimal)
    assert isinstance(config, TrainConfig)
    assert config.optimizer.learning_rate == 10**-3
    assert config.episodes.batch_size == 64
    assert config.data.sources[0].kind == "personas"


def test_round_trip_through_dict_is_identity(minimal: Path) -> None:
    config = load_config(minimal)
    assert config_from_dict(config_to_dict(config)) == config


def test_dict_form_survives_json(minimal: Path) -> None:
    import json

    config = load_config(minimal)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(config)))) == config


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_config_loads_and_opens_with_its_command(path: Path) -> None:
    load_config(path)
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    for word in ("fspo train", "Time:", "Hardware:", "Expected:"):
        assert word in head, f"{path.name} must open with its {word}"


@pytest.mark.parametrize("key", ["seed", "steps", "objective", "data", "scorer", "optimizer"])
def test_deciding_key_missing_raises_with_its_name(key: str) -> None:
    partial = tree()
    del partial[key]
    with pytest.raises(ConfigError, match=f"missing key '{key}'"):
        config_from_dict(partial)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.learning_rte=1", r"unknown key 'optimizer.learning_rte'. Did you mean 'learning_rate'\?"),
        ("stepps=1", r"unknown key 'stepps'. Did you mean 'steps'\?"),
        ("data.sources.0.persona=3", r"unknown key 'data.sources.0.persona'. Did you mean 'personas'\?"),
        (
            "scorer.kind=preferential_pg",
            r"'scorer.kind' is 'preferential_pg'. Did you mean 'preferential_gp'\?",
        ),
        ("objective=bradly_terry", r"'objective' is 'bradly_terry'. Did you mean 'bradley_terry'\?"),
        (
            "data.sources.0.domains=['review']",
            r"'data.sources.0.domains.0' is 'review'. Did you mean 'reviews'\?",
        ),
        ("steps=many", r"'steps' must be a whole number, not 'many'"),
        ("steps=1.5", r"'steps' must be a whole number, not 1.5"),
        ("steps=true", r"'steps' must be a whole number, not True"),
        ("optimizer.learning_rate='1e-3'", r"'optimizer.learning_rate' must be a number, not '1e-3'"),
        (f"steps={10**400}", r"'steps' is 1000.*, a number of more than 64 bits"),
        (f"optimizer.learning_rate={10**400}", r"'optimizer.learning_rate' is 1000.* 64 bits"),
        (f"steps=0x{'f' * 5000}", r"'steps' is <int>, a number of more than 64 bits"),
        ("steps=" + "1" * 5000, r"'steps' must be a whole number"),
        ("population_baseline=1", r"'population_baseline' must be true or false, not 1"),
        ("encoder.model=3", r"'encoder.model' must be a text, not 3"),
        ("encoder=3", r"'encoder' must be a table, not 3"),
        ("data.sources=3", r"'data.sources' must be a list, not 3"),
        ("data.sources=[]", r"'data.sources' must have at least one entry"),
        ("data.sources.1.seed=3", r"'data.sources' has 1 entry"),
        ("data.sources.x.seed=3", r"'data.sources' has 1 entry"),
        ("steps.x=3", r"'steps' is not a table"),
        ("steps", r"must look like"),
        ("=3", r"must look like"),
        ("a..b=3", r"must look like"),
        (
            "episodes.cohort=8",
            r"'episodes.cohort' is a key of an older version .* It now follows from the 'cohort'",
        ),
    ],
)
def test_override_wrong_raises_with_full_path(minimal: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, [override])


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("steps=0", "steps"),
        ("seed=-1", "seed"),
        ("steps_per_dispatch=0", "steps_per_dispatch"),
        ("evaluate_every=75", "evaluate_every"),
        ("steps=75", "steps"),
        ("optimizer.warmup_steps=100", "optimizer.warmup_steps"),
        ("episodes.batch_size=0", "episodes.batch_size"),
        ("episodes.queries=-1", "episodes.queries"),
        ("episodes.max_context=-1", "episodes.max_context"),
        ("episodes.flip_probability=1.5", "episodes.flip_probability"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate"),
        ("optimizer.warmup_steps=-1", "optimizer.warmup_steps"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay"),
        ("optimizer.clip_norm=0", "optimizer.clip_norm"),
        ("scorer.hidden=0", "scorer.hidden"),
        ("scorer.width=0", "scorer.width"),
        ("scorer.newton_steps=0", "scorer.newton_steps"),
        ("data.validation_fraction=0.9", "data.validation_fraction"),
        ("data.test_fraction=1.0", "data.test_fraction"),
        ("data.sources.0.personas=0", "data.sources.0.personas"),
        ("data.sources.0.prompts=0", "data.sources.0.prompts"),
        ("data.sources.0.pairs=0", "data.sources.0.pairs"),
        ("data.sources.0.responses=1", "data.sources.0.responses"),
        ("data.sources.0.label_noise=0.6", "data.sources.0.label_noise"),
        ("data.sources.0.domains=[]", "data.sources.0.domains"),
        ("devices=-1", "devices"),
        ("feature_dropout=1.0", "feature_dropout"),
        ("features=[{kind='hidden_layer', layer=0}]", "features.0.layer"),
        ("features=[]", "features"),
    ],
)
def test_value_out_of_range_raises_with_name(minimal: Path, override: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}"):
        load_config(minimal, [override])


def test_set_transformer_width_not_multiple_of_heads_raises(minimal: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"'scorer.width' \(10\) must be a multiple of 'scorer.heads' \(4\)"
    ):
        load_config(minimal, ["scorer={kind='set_transformer', width=10, heads=4}"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features=[{kind='sentence'}]"], r"reads the style block\. Add kind = \"style\" to 'features'"),
        (
            ["scorer.encoder_blocks=2"],
            r"'scorer\.encoder_blocks' is a key of an older version.*follows from '\[\[features",
        ),
        (["scorer.approval=true"], r"'scorer\.approval' is a key of an older version.*Delete this key"),
    ],
)
def test_three_level_gp_on_features_it_cannot_read_raises(
    minimal: Path, overrides: list[str], message: str
) -> None:
    scorer = "scorer={kind='three_level_gp'}"
    load_config(minimal, [scorer])
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, [scorer, *overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [
                "data.sources=[{kind='personas', seed=1, personas=20, prompts=10}, "
                "{kind='traits', seed=1, path='a', personas=20, cohort=8}]"
            ],
            r"'data\.sources\.1\.cohort' is 8, but that of 'data\.sources\.0' is 0",
        ),
        (["features=[{kind='approval'}]"], "'features' has \"approval\", which needs adapters"),
        (["features=[{kind='style'}, {kind='style'}]"], r"'features\.1' repeats 'features\.0'"),
        (
            ["features=[{kind='sentence', model='a/m'}, {kind='sentence'}, {kind='sentence', model='b/m'}]"],
            r"'features\.2' repeats 'features\.0': both are named 'sentence_m'",
        ),
        (["encoder.approval=true"], r"'encoder\.approval' is a key of an older version.*kind = \"approval\""),
        (["encoder.recipe=joint"], r"'encoder\.recipe' is a key of an older version"),
        (["encoder.adapter_learning_rate=1e-3"], "needs an 'encoder.adapter_rank'"),
        (["sft_weight=0.1"], "'sft_weight' is for language models"),
        (["start=fspo-mini", "encoder.adapter_rank=2"], "'start' is for scorers of features"),
    ],
)
def test_keys_that_need_another_key_raise(minimal: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(minimal, overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["features=[{kind='sentence'}]"], "reads the style block"),
        (["features=[{kind='approval'}, {kind='style'}]"], "remove \"approval\" from 'features'"),
        (
            ["methods.5.model.approval=true"],
            r"'methods\.5\.model\.approval' is a key of an older version.*Delete this key",
        ),
        (["methods.1.adapters=fspo-mini"], "because 'length' reads no features"),
        (["methods.1.name=population Bradley-Terry"], r"'methods\.1\.name' is .* like that of 'methods\.0'"),
        (
            ["methods.1.mismatched=true"],
            r"'methods\.1\.mismatched' must be false, because 'length' is not meta-trained",
        ),
        (["encoder.adapter_rank=8"], "are for training runs"),
    ],
)
def test_benchmark_that_a_method_cannot_read_raises(overrides: list[str], message: str) -> None:
    path = Path(__file__).parents[2] / "configs/benchmark/sources.toml"
    load_benchmark(path)
    with pytest.raises(ConfigError, match=message):
        load_benchmark(path, overrides)


def test_override_sets_nested_values_and_bare_words(minimal: Path) -> None:
    config = load_config(
        minimal,
        [
            "optimizer.learning_rate=3e-4",
            "data.sources.0.personas=7",
            "encoder.model=models/bge-small",
            "scorer.width=32",
        ],
    )
    assert config.optimizer.learning_rate == 3e-4
    assert config.data.sources[0].personas == 7
    assert config.encoder.model == "models/bge-small"
    assert config.scorer.width == 32


def test_override_of_a_list_replaces_it(minimal: Path) -> None:
    config = load_config(minimal, ["data.sources=[{kind='preferences', path='a.jsonl'}]"])
    assert [source.path for source in config.data.sources] == ["a.jsonl"]


def test_later_override_wins(minimal: Path) -> None:
    assert load_config(minimal, ["steps=150", "steps=200"]).steps == 200


def test_file_missing_names_the_one_meant(minimal: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such config file. Did you mean '.*minimal.toml'\?"):
        load_config(minimal.with_name("minimale.toml"))


@pytest.mark.parametrize(
    "content",
    [b"seed = ", b"\xff\xfe", b"seed = 1\nseed = 2\n", b"seed = " + b"[" * 5000, b"seed = " + b"1" * 5000],
)
def test_file_not_toml_raises_with_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad.toml: not valid TOML"):
        load_config(path)


def test_directory_instead_of_file_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path)


JUNK = [
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    "",
    "x",
    [],
    [1],
    {},
    {"kind": "personas"},
    [[]],
    [{}],
    10**30,
    "\ud800",
]


@pytest.mark.parametrize("seed", range(40))
def test_mutated_config_raises_config_error_or_builds(seed: int) -> None:
    """Property: whatever a TOML file holds, the reader returns a config or raises `ConfigError`, nothing else."""
    generator = random.Random(seed)
    for _ in range(50):
        mutated = copy.deepcopy(tree())
        for _ in range(generator.randint(1, 3)):
            node = mutated
            while True:
                key = generator.choice(list(node) if isinstance(node, dict) else range(len(node)))
                if isinstance(node[key], dict | list) and node[key] and generator.random() < 0.7:
                    node = node[key]
                    continue
                action = generator.random()
                if action < 0.6:
                    node[key] = copy.deepcopy(generator.choice(JUNK))
                elif action < 0.8:
                    del node[key]
                elif isinstance(node, dict):
                    node[generator.choice(["kind", "extra", "path", ""])] = copy.deepcopy(
                        generator.choice(JUNK)
                    )
                break
            if not mutated:
                break
        try:
            config = config_from_dict(mutated)
        except ConfigError as error:
            assert len(str(error)) > 10
        else:
            assert config_from_dict(config_to_dict(config)) == config


def test_cohort_of_a_config_is_that_of_its_sources(minimal: Path) -> None:
    assert load_config(minimal).data.cohort == 0
    sources = ", ".join(
        f"{{kind='traits', seed={seed}, path='a', personas=64, cohort=8, name='{seed}'}}" for seed in (1, 2)
    )
    assert load_config(minimal, [f"data.sources=[{sources}]"]).data.cohort == 8


def numbers(hint: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Dotted path and type of every number below a type of a config."""
    if typing.get_origin(hint) is Annotated or hint in (int, float):
        yield path, hint
    elif dataclasses.is_dataclass(hint):
        for name, of_field in typing.get_type_hints(hint, include_extras=True).items():
            yield from numbers(of_field, f"{path}.{name}")
    else:
        for member in typing.get_args(hint):
            if not isinstance(member, str):
                yield from numbers(member, f"{path}[{getattr(member, '__name__', '')}]")


def test_every_number_of_a_config_says_its_range() -> None:
    found = [*numbers(TrainConfig, "train"), *numbers(BenchmarkConfig, "benchmark")]
    assert len(found) > 100
    without = [path for path, hint in found if typing.get_origin(hint) is not Annotated]
    assert without == []
